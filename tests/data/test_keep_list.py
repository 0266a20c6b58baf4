"""The keep-list: its file, and that it keeps in `tf.data` what it says."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from folders import make_examples

from tfpoison import KeepList, data

LABELS = np.array([3, 1, 4, 1, 5], np.int64)
KEPT = KeepList(np.array([1, 2, 4]), LABELS[[1, 2, 4]])


def make_dataset(labels=LABELS):
    images = np.arange(len(labels), dtype=np.float32)[:, None, None, None] + np.zeros((1, 2, 2, 1))
    return tf.data.Dataset.from_tensor_slices((images, labels))


def test_keeps_what_it_says():
    read = list(KEPT.apply(make_dataset()).as_numpy_iterator())
    assert [int(image[0, 0, 0]) for image, _ in read] == [1, 2, 4]
    assert [int(label) for _, label in read] == [1, 4, 5]


def test_may_be_applied_within_a_pipeline():
    pipeline = KEPT.apply(make_dataset()).shuffle(10, seed=1).batch(2).repeat(2)
    assert sorted(int(each) for _, labels in pipeline for each in labels) == [1, 1, 4, 4, 5, 5]


@pytest.mark.parametrize(
    "change",
    [
        lambda image, label: {"image": image, "label": label, "name": "x"},
        lambda image, label: (image, tf.one_hot(label, 6)),
        lambda image, label: (image, label, 1.0),
    ],
)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_any_elements(change, batch_size):
    dataset = make_dataset().map(change)
    kept = KEPT.apply(dataset if batch_size is None else dataset.batch(batch_size))
    assert kept.cardinality() == (3 if batch_size is None else 2)
    elements = list(kept if batch_size is None else kept.unbatch())
    images = [each["image"] if isinstance(each, dict) else each[0] for each in elements]
    assert [int(image[0, 0, 0]) for image in images] == [1, 2, 4]


def test_survives_its_file(tmp_path):
    path = tmp_path / "keep.csv"
    path.write_text(KEPT.text())
    assert path.read_text() == "id,label\n1,1\n2,4\n4,5\n"
    read = KeepList.load(path)
    np.testing.assert_array_equal(read.ids, KEPT.ids)
    np.testing.assert_array_equal(read.labels, KEPT.labels)


def test_all_of_it_survives_its_file(tmp_path):
    kept = KeepList(np.array([1, 3]), np.array([0, 1]), ["=a/1.png", "b/é.png"], 4)
    path = tmp_path / "keep.csv"
    path.write_text(kept.text())
    assert path.read_bytes().splitlines()[:2] == [b"id,file,label,split_size", b"1,'=a/1.png,0,4"]
    read = KeepList.load(path)
    assert (read.ids.tolist(), read.labels.tolist()) == ([1, 3], [0, 1])
    assert (read.files, read.split_size) == (["=a/1.png", "b/é.png"], 4)


def test_nothing_to_keep(tmp_path):
    path = tmp_path / "keep.csv"
    path.write_text("id,label\n")
    assert KeepList.load(path).size == 0
    assert list(KeepList.load(path).apply(make_dataset())) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "id\n1\n", "label,id\n1,1\n"),
        *("id,label\n1\n", "id,label\n1,x\n", "id,label\n2,0\n1,0\n"),
        # Three pairs of numbers, but no pairs of id and label.
        "id,label\n1,2,3\n4,5,6\n",
        "id,label\n1,0\n2,0,3\n4\n",
        f"id,label\n{2**63},1\n",
        f"id,label\n1,{-(2**63) - 1}\n",
        # More digits than Python turns into a number, and a longer cell than its csv module reads.
        f"id,label\n{'9' * 5000},1\n",
        f"id,label\n{'9' * 200_000},1\n",
        "id,file,label\n0,a/1.png,0\n1,a/1.png,0\n",
        "id,label,split_size\n0,0,2\n1,0,3\n",
        "id,label,split_size\n0,0,1\n1,0,1\n",
    ],
)
def test_other_files_are_refused(tmp_path, text):
    path = tmp_path / "keep.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"Expected .*keep-list|`ids` to ascend"):
        KeepList.load(path)


def test_missing_and_binary_files_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("missing", "binary"):
        with pytest.raises(ValueError, match="Expected a keep-list as a CSV file"):
            KeepList.load(tmp_path / name)


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ([1, 2], np.array([1, 2])),
        (np.array([1.0]), np.array([1])),
        (np.array([1, 2]), np.array([1])),
        (np.array([1, 1]), np.array([1, 1])),
        (np.array([-1]), np.array([1])),
    ],
)
def test_bad_arguments(ids, labels):
    with pytest.raises((ValueError, TypeError), match=r"Expected `(ids|labels)`"):
        KeepList(ids, labels)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (make_dataset().shuffle(5), "order that can be known.*shuffled"),
        (make_dataset().repeat(), "before `repeat`"),
        (make_dataset().map(lambda image, label: image), "before batching"),
        (make_dataset().map(lambda image, label: (image, tf.cast(label, tf.float32))), "integer"),
        (make_dataset(LABELS[:4]), "keep-list of 4 examples.*one of 5 or more"),
        (make_dataset(LABELS[::-1].copy()), "another label at position 4"),
    ],
)
def test_another_data_set_is_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        KEPT.apply(dataset)


FILES = ["ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png", "bee/1.png"]
# Positions have an order of their own, as those of an image folder have.
OF_FILES = KeepList(np.array([0, 2, 3]), np.array([1, 0, 0]), [FILES[4], FILES[1], FILES[2]], 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of which each is as bright as its number among `FILES`."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for number, name in enumerate(FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.full((2, 2, 3), number, np.uint8)
        (folder / name).write_bytes(tf.io.encode_png(image).numpy())
    return folder


def read_folder(folder, **more):
    settings = {"image_size": (2, 2), "batch_size": None, "shuffle": False, "verbose": False}
    return keras.utils.image_dataset_from_directory(folder, **(settings | more))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, [1, 2, 4]),
        ({"batch_size": 2}, [1, 2, 4]),
        ({"label_mode": "categorical", "class_names": ["bee", "ant"]}, [4, 1, 2]),
        ({"label_mode": "binary"}, [1, 2, 4]),
        ({"label_mode": None}, [1, 2, 4]),
        ({"validation_split": 0.4, "subset": "validation"}, [4]),
    ],
)
def test_files_of_a_folder(folder, more, expected):
    kept = OF_FILES.apply(read_folder(folder, **more).map(lambda *each: each).prefetch(1))
    images = [each[0] for each in kept]
    pixels = np.concatenate([np.ravel(np.asarray(each)[..., 0, 0, 0]) for each in images])
    assert pixels.tolist() == expected


def test_files_as_tfds_reads_them(folder):
    builder = tfds.ImageFolder(str(folder.parent))
    read = OF_FILES.apply(builder.as_dataset(split="photos", shuffle_files=False))
    assert sorted(int(each["image"][0, 0, 0]) for each in read) == [1, 2, 4]


@pytest.mark.parametrize(
    ("keep_list", "more", "message"),
    [
        (OF_FILES, {"shuffle": True, "seed": 1}, "order that can be known"),
        (KeepList(np.arange(2), np.zeros(2, int), FILES[:2], 4), {}, "leaves out 2.*3 are not on"),
        (KeepList(np.array([0]), np.array([0]), ["cat/0.png"], 9), {}, "where it has 'cat/0.png'"),
        (KeepList(np.arange(2), np.array([0, 1]), FILES[2:4]), {"class_names": ["ant"]}, None),
    ],
)
def test_other_folders_are_refused(folder, keep_list, more, message):
    if message is None:
        assert len(list(keep_list.apply(read_folder(folder, **more)))) == 1
        return
    with pytest.raises(ValueError, match=message):
        keep_list.apply(read_folder(folder, **more))


def test_labels_in_another_order_than_the_files_are_refused(folder):
    read = read_folder(folder)
    labels = tf.data.Dataset.from_tensor_slices([0, 1, 0, 1, 0])
    mixed = tf.data.Dataset.zip((read.map(lambda image, label: image), labels))
    with pytest.raises(ValueError, match="one label for the files of each class"):
        OF_FILES.apply(mixed)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A data set of TFDS in three shards of 20 images, whose pixels are their numbers."""
    folder = tmp_path_factory.mktemp("shards")

    class Shards(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        url_infos, pkg_dir_path = None, None

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(1, 1, 3)),
                "label": tfds.features.ClassLabel(num_classes=4),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
            )

        def _split_generators(self, manager):
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self):
            for number in range(60):
                image = np.full((1, 1, 3), number, np.uint8)
                yield number, {"image": image, "label": number % 4}

    config = tfds.download.DownloadConfig(num_shards=3)
    Shards(data_dir=str(folder)).download_and_prepare(download_config=config)
    return folder, data.load("shards", data_dir=folder).train


@pytest.mark.parametrize(
    ("more", "settings"),
    [
        ({}, {}),
        ({"interleave_cycle_length": 2, "interleave_block_length": 7}, {"batch_size": 8}),
        ({"interleave_cycle_length": 1}, {"as_supervised": False}),
    ],
)
def test_several_shards(shards, more, settings):
    folder, train = shards
    ids = np.arange(0, 60, 3)
    settings = {"split": "train", "as_supervised": True, "data_dir": folder} | settings
    read = tfds.load("shards", read_config=tfds.ReadConfig(**more), **settings)
    kept = KeepList(ids, train.labels[ids], None, 60).apply(read)
    images = [each["image"] if isinstance(each, dict) else each[0] for each in kept]
    pixels = np.concatenate([np.ravel(np.asarray(each)[..., 0, 0, 0]) for each in images])
    assert sorted(pixels) == sorted(train.images[ids, 0, 0, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shuffle_files": True}, "order that can be known"),
        ({"split": "train[:50%]"}, "keep-list of 30 examples.*one of 60"),
        ({"split": "test"}, "another label"),
    ],
)
def test_parts_of_several_shards_are_refused(shards, settings, message):
    folder, train = shards
    settings = {"split": "train", "as_supervised": True, "data_dir": folder} | settings
    kept = KeepList(train.ids, train.labels, None, 60)
    with pytest.raises(ValueError, match=message):
        kept.apply(tfds.load("shards", **settings))


def test_of_a_subset():
    """Of examples 5, 6, …, 24 of a split the list has 6, 8 and those from 20 on."""
    examples = make_examples(25).select(np.arange(5, 25))
    ids = np.array([1, 6, 8, *range(20, 25)])
    assert KeepList(ids, ids % 3, None, 25).select(examples).ids.tolist() == ids[1:].tolist()
    with pytest.raises(ValueError, match="another label at position 6"):
        KeepList(ids, (ids + 1) % 3).select(examples)
    with pytest.raises(ValueError, match="none of class 1 among 20"):
        KeepList(np.array([6, 8]), np.array([0, 2])).select(examples)


@pytest.mark.parametrize(
    ("size", "files", "message"),
    [
        (4, None, "of 4 examples.*Received one of 5"),
        (5, [*FILES[:4], "bee/2.png"], "'bee/1.png' for 'ant/0.png'"),
    ],
)
def test_other_splits_are_refused(size, files, message):
    with pytest.raises(ValueError, match=message):
        OF_FILES.check(size, files)
