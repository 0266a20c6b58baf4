"""Image folders of both layouts, and data sets of TFDS that are there or not."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from folders import write_images

from tfpoison import data
from tfpoison.data import loading

ROOT = pathlib.Path(__file__).parents[2]
TFDS_DIR = pathlib.Path(os.environ.get("TFPOISON_DATA_DIR", ROOT.parent / "shared" / "tfds"))
needs_cifar10 = pytest.mark.skipif(
    not (TFDS_DIR / "cifar10").is_dir(),
    reason=f"no CIFAR-10 in {TFDS_DIR}; TFPOISON_DATA_DIR says where TFDS keeps it",
)


@pytest.fixture
def splits(tmp_path):
    """train/cat, train/dog, test/cat, test/dog."""
    write_images(tmp_path / "train" / "cat", 4, brightness=10)
    write_images(tmp_path / "train" / "dog", 6, brightness=20)
    write_images(tmp_path / "test" / "cat", 2, brightness=30)
    write_images(tmp_path / "test" / "dog", 3, brightness=40)
    return tmp_path


@pytest.fixture
def flat(tmp_path):
    """cat, dog."""
    write_images(tmp_path / "cat", 10, brightness=10)
    write_images(tmp_path / "dog", 20, brightness=100)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def brightnesses(examples):
    """Returns the colours of the images of one colour."""
    colours = examples.images[:, 0, 0, 0]
    assert np.all(examples.images == colours[:, None, None, None])
    return colours


def test_folder_of_splits(splits):
    folder = data.load("image_folder", data_dir=splits)
    assert folder.class_names == ("cat", "dog")
    assert folder.image_shape == (5, 4, 3)
    colours = brightnesses(folder.train)
    assert sorted(colours) == [10, 11, 12, 13, 20, 21, 22, 23, 24, 25]
    np.testing.assert_array_equal(folder.train.labels, colours >= 20)
    assert sorted(brightnesses(folder.validation)) == [30, 31, 40, 41, 42]


def test_flat_folder_holds_out_a_fifth_of_every_class(flat):
    folder = data.load("image_folder", data_dir=flat)
    assert folder.class_names == ("cat", "dog")
    np.testing.assert_array_equal(np.bincount(folder.train.labels), [8, 16])
    np.testing.assert_array_equal(np.bincount(folder.validation.labels), [2, 4])
    held_out = set(brightnesses(folder.validation))
    assert held_out.isdisjoint(brightnesses(folder.train))
    assert held_out == set(brightnesses(data.load("image_folder", data_dir=flat).validation))
    other = data.load("image_folder", data_dir=flat, seed=1)
    assert held_out != set(brightnesses(other.validation))


def test_the_whole_split_has_what_is_held_out(flat):
    usual = data.load("image_folder", data_dir=flat)
    whole = data.load("image_folder", data_dir=flat, whole_split=True)
    assert whole.train.ids.tolist() == list(range(30))
    np.testing.assert_array_equal(np.bincount(whole.train.labels), [10, 20])
    np.testing.assert_array_equal(whole.validation.ids, usual.validation.ids)
    assert data.Selection("image_folder", data_dir=flat, whole_split=True).check().train_size == 30
    with pytest.raises(ValueError, match="`train_size` to be at most 24"):
        data.load("image_folder", data_dir=flat, train_size=25)
    part = data.load("image_folder", data_dir=flat, train_size=25, whole_split=True)
    assert part.train.size == 25
    with pytest.raises(TypeError, match="`whole_split` to be True or False"):
        data.load("image_folder", data_dir=flat, whole_split=1)


def test_a_split_for_validation_stays_apart(splits):
    whole = data.load("image_folder", data_dir=splits, whole_split=True)
    assert (whole.train.size, whole.validation.size) == (10, 5)


def test_the_whole_split_needs_nothing_that_is_held_out(tmp_path, splits):
    (splits / "test" / "cat" / "0.png").write_bytes(b"damaged")
    whole = data.load("image_folder", data_dir=splits, whole_split=True)
    assert (whole.train.size, whole.validation.size) == (10, 5)
    write_images(tmp_path / "few" / "cat", 1)
    write_images(tmp_path / "few" / "dog", 3)
    few = data.load("image_folder", data_dir=tmp_path / "few", whole_split=True)
    assert (few.train.size, few.validation.size) == (4, 0)
    with pytest.raises(ValueError, match="at least two examples of every class"):
        data.load("image_folder", data_dir=tmp_path / "few")


def test_labels_of_the_training_split(flat):
    labels = data.Selection("image_folder", data_dir=flat).source.train.labels()
    part = data.load("image_folder", data_dir=flat, train_size=7)
    np.testing.assert_array_equal(np.bincount(labels), [10, 20])
    for examples in (part.train, part.validation):
        np.testing.assert_array_equal(labels[examples.ids], examples.labels)


def test_images_that_are_not_on_the_keep_list_are_left_out(flat):
    train = data.load("image_folder", data_dir=flat).train
    kept = data.KeepList(train.ids[::2], train.labels[::2], split_size=30)
    (flat / "keep.csv").write_text(kept.text())
    left = data.load("image_folder", data_dir=flat, keep_list=flat / "keep.csv")
    np.testing.assert_array_equal(left.train.ids, kept.ids)
    assert left.validation.size == 6
    (flat / "cat" / "0.png").unlink()
    with pytest.raises(ValueError, match="keep-list of 29 examples"):
        data.Selection("image_folder", data_dir=flat, keep_list=flat / "keep.csv").check()


def test_ids_name_an_image_whatever_the_subset(flat):
    whole = data.load("image_folder", data_dir=flat)
    part = data.load("image_folder", data_dir=flat, train_size=7)
    colour = dict(zip(whole.train.ids.tolist(), brightnesses(whole.train), strict=True))
    assert part.train.size == 7
    assert [colour[each] for each in part.train.ids.tolist()] == brightnesses(part.train).tolist()
    assert set(whole.train.ids).isdisjoint(whole.validation.ids)


def test_check_tells_what_is_known_before_reading(flat):
    expected = data.Description("image_folder", ("cat", "dog"), None, 24, 6, 30, 30)
    assert data.Selection("image_folder", data_dir=flat).check() == expected
    sized = data.Selection("image_folder", data_dir=flat, image_size=(8, 9), train_size=5).check()
    assert (sized.image_shape, sized.train_size, sized.classes) == ((8, 9, 3), 5, 2)


def test_images_of_several_sizes_are_named_or_resized(splits):
    write_images(splits / "train" / "owl", 1, size=(7, 7))
    with pytest.raises(ValueError, match=r"of one size, .*Received: .*png of .*`image_size`"):
        data.load("image_folder", data_dir=splits)
    folder = data.load("image_folder", data_dir=splits, image_size=(6, 8))
    assert folder.train.images.shape == (11, 6, 8, 3)
    # Resizing keeps images of one colour as they are.
    assert sorted(brightnesses(folder.train))[:4] == [10, 11, 12, 13]


def test_grey_images_become_coloured(splits):
    write_images(splits / "train" / "owl", 1, channels=1, brightness=200)
    folder = data.load("image_folder", data_dir=splits)
    assert 200 in brightnesses(folder.train)


@pytest.mark.parametrize("image_size", [None, (8, 8)])
def test_a_broken_file_is_named(flat, image_size):
    (flat / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(ValueError, match=r"can be decoded. Received: .*broken\.png"):
        data.load("image_folder", data_dir=flat, image_size=image_size)


def test_large_folders_of_unknown_size_are_not_looked_through(splits, monkeypatch):
    monkeypatch.setattr(loading, "MEMORY_LIMIT_BYTES", 100)
    with pytest.raises(ValueError, match="Expected `image_size`"):
        data.load("image_folder", data_dir=splits)


def test_a_streamed_flat_folder_lasts_as_long_as_its_examples(flat, monkeypatch):
    in_memory = data.load("image_folder", data_dir=flat)
    monkeypatch.setattr(loading, "MEMORY_LIMIT_BYTES", 100)
    streamed = data.load("image_folder", data_dir=flat, image_size=(5, 4))
    assert isinstance(streamed.train, data.StreamedExamples)
    np.testing.assert_array_equal(streamed.train.images, in_memory.train.images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "missing", "there is no folder /.*/missing"),
        (lambda folder: folder, "which holds nothing.*the one above them"),
        (lambda folder: (folder / "cat").mkdir() or folder, "which holds cat"),
        (lambda folder: None, "folder of images"),
    ],
)
def test_no_image_folder(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        data.Selection("image_folder", data_dir=make(tmp_path)).check()


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        (
            "cifar11",
            {},
            ValueError,
            r"Unknown data set.*Received: 'cifar11'.*Did you mean 'cifar10",
        ),
        ("digit", {}, ValueError, r"Did you mean 'digits'"),
        (7, {}, TypeError, r"`dataset` to be text"),
        ("cifar10", {"data_dir": "nowhere"}, ValueError, r"'cifar10' to lie prepared.*nowhere"),
        ("cifar10/blue", {}, ValueError, r"blue"),
        ("cifar10", {"download": True}, ValueError, r"folder to download into"),
        (
            "digits",
            {"data_dir": "nowhere"},
            ValueError,
            r"data set 'digits'. Expected none.*data_dir",
        ),
        ("digits", {"download": True}, ValueError, r"setting of the data set .*download"),
        ("image_folder", {"download": True}, ValueError, r"one of: data_dir. Received: 'download'"),
        ("digits", {"train_size": 1281}, ValueError, r"at most 1280.*train split.*1281"),
        ("digits", {"validation_size": 518}, ValueError, r"at most 517.*test split.*518"),
        ("digits", {"train_size": 0}, ValueError, r"train_size"),
        ("digits", {"train_size": 1.5}, TypeError, r"train_size"),
        ("digits", {"image_size": (8,)}, TypeError, r"image_size"),
        ("digits", {"image_size": (8, 0)}, ValueError, r"image_size"),
        ("digits", {"image_size": 8}, TypeError, r"image_size"),
        ("digits", {"subset_seed": -1}, ValueError, r"subset_seed"),
        ("digits", {"balanced": "yes"}, TypeError, r"balanced"),
    ],
)
def test_wrong_arguments_are_refused_before_reading(name, options, error, message):
    with pytest.raises(error, match=message):
        data.Selection(name, **options).check()


def test_what_is_nearly_right_is_suggested(flat):
    with pytest.raises(ValueError, match="Did you mean 'data_dir'"):
        data.load("image_folder", data_dri=flat)
    with pytest.raises(ValueError, match=f"loaded by 'image_folder', with data_dir='{flat}'"):
        data.load(str(flat))


class Squares(data.Split):
    """Images of a side each, which are drawn when they are read."""

    name = "train"

    def __init__(self, size):
        self.size = size

    def labels(self):
        return np.arange(self.size) % 2

    def encoded(self):
        return tf.data.Dataset.range(self.size)

    def decode(self, encoded):
        return tf.cast(tf.fill([3, 3, 1], encoded), tf.uint8)


def test_a_data_set_of_ones_own(monkeypatch):
    monkeypatch.setattr(data.SOURCES, "_makers", dict(data.SOURCES._makers))

    @data.register("squares")
    def squares(data_dir, count=10):
        assert data_dir == "somewhere"
        return data.Source(("even", "odd"), Squares(count))

    images = data.load("squares(count=20)", data_dir="somewhere", train_size=9)
    assert (images.train.size, images.validation.size, images.image_shape) == (9, 4, (3, 3, 1))
    np.testing.assert_array_equal(brightnesses(images.train), images.train.ids)
    np.testing.assert_array_equal(images.train.labels, images.train.ids % 2)
    described = data.Selection("squares", data_dir="somewhere").check()
    assert (described.image_shape, described.train_size) == (None, 8)
    with pytest.raises(ValueError, match=r"one of: count, data_dir. Received: 'size'"):
        data.load("squares(size=20)", data_dir="somewhere")


def test_unprepared_data_sets_leave_no_trace(tmp_path):
    with pytest.raises(ValueError, match="lie prepared"):
        data.load("mnist", data_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def make_tfds_data_set(folder, features, supervised_keys, example, splits=("train",)):
    """Writes a data set of one example a split in the format of TFDS."""
    import tensorflow_datasets as tfds

    class OddBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "odd"
        VERSION = tfds.core.Version("1.0.0")
        url_infos = None

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=supervised_keys,
            )

        def _split_generators(self, dl_manager):
            return {split: iter([(0, example)]) for split in splits}

        def _generate_examples(self):
            raise NotImplementedError

    OddBuilder(data_dir=folder).download_and_prepare()


def test_data_sets_of_another_kind_are_refused(tmp_path):
    import tensorflow_datasets as tfds

    features = {"words": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
    make_tfds_data_set(tmp_path, features, ("words", "label"), {"words": "a", "label": 1})
    with pytest.raises(ValueError, match=r"features: label \(ClassLabel\), words \(Text\)"):
        data.Selection("odd", data_dir=tmp_path).check()


def make_tfds_images(folder, keys=("image", "label"), **options):
    """Writes a data set of one image a split, and returns the folder of its files."""
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(2, 2, 1)),
        "label": tfds.features.ClassLabel(num_classes=2),
    }
    example = {"image": np.zeros((2, 2, 1), np.uint8), "label": 1}
    make_tfds_data_set(folder, features, keys, example, **options)
    return folder / "odd" / "1.0.0"


def test_a_split_to_train_on_is_needed(tmp_path):
    make_tfds_images(tmp_path, splits=["everything"])
    with pytest.raises(ValueError, match=r"a split 'train'.*everything"):
        data.Selection("odd", data_dir=tmp_path).check()


@pytest.mark.parametrize("keys", [None, ("picture", "label")])
def test_labels_are_needed(tmp_path, keys):
    files = make_tfds_images(tmp_path, keys and ("image", "label"))
    info = files / "dataset_info.json"
    info.write_text(info.read_text().replace('"image"', '"picture"'))
    with pytest.raises(ValueError, match=r"supervised_keys=.*Its features: image \(Image\)"):
        data.Selection("odd", data_dir=tmp_path).check()


def write_text(path):
    path.write_text("{damaged")


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change(feature, value):
    """Returns what writes another value into the record."""

    def damage(path):
        (record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
        example = tf.train.Example.FromString(record)
        example.features.feature[feature].CopyFrom(value)
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(example.SerializeToString())

    return damage


def text(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def number(value):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("dataset_info.json", write_text, "TFDS can build. Received: 'odd' in data_dir='FOLDER'"),
        ("dataset_info.json", os.remove, "TFDS can build. Received: 'odd' in data_dir='FOLDER'"),
        ("features.json", write_text, "TFDS can build. Received: 'odd' in data_dir='FOLDER'"),
        ("features.json", os.remove, "not in data_dir='FOLDER'"),
        ("odd-train*", os.remove, "can be read. Received: FOLDER/odd/1.0.0, split 'train'"),
        ("odd-train*", cut_short, "can be read. Received: FOLDER/odd/1.0.0, split 'train'"),
        ("odd-train*", flip_a_bit, "can be read. Received: FOLDER/odd/1.0.0, split 'train'"),
        ("odd-train*", lambda path: path.write_bytes(b""), "contained only 0 elements"),
        ("odd-train*", change("label", number(2)), "labels from 0 to 1. Received: 2 of example 0"),
        ("odd-train*", change("label", number(-1)), "Received: -1 of example 0 of the split"),
        ("odd-train*", change("image", number(0)), "can be read. Received: FOLDER/odd/1.0.0"),
        ("odd-train*", change("image", text(b"?")), "decoded. Received: example 0 of the split"),
    ],
)
def test_damaged_data_sets_are_named(tmp_path, name, damage, message):
    (path,) = make_tfds_images(tmp_path, splits=["train", "test"]).glob(name)
    damage(path)
    with pytest.raises(ValueError) as error:
        data.load("odd", data_dir=tmp_path)
    assert message.replace("FOLDER", str(tmp_path)) in str(error.value)


@needs_cifar10
def test_cifar10_subset():
    cifar = data.load(
        "cifar10", data_dir=TFDS_DIR, train_size=500, validation_size=100, balanced=True, seed=3
    )
    assert cifar.image_shape == (32, 32, 3)
    assert cifar.class_names[3] == "cat"
    np.testing.assert_array_equal(np.bincount(cifar.train.labels), [50] * 10)
    np.testing.assert_array_equal(np.bincount(cifar.validation.labels), [10] * 10)
    # The statistics that the authors' code has for the whole training split.
    mean, std = data.channel_statistics(cifar.train)
    np.testing.assert_allclose(mean, [0.4915, 0.4823, 0.4467], atol=0.03)
    np.testing.assert_allclose(std, [0.2470, 0.2435, 0.2616], atol=0.03)


def test_streamed_examples_equal_those_in_memory(monkeypatch):
    options = {"train_size": 40, "validation_size": 10, "image_size": (6, 7)}
    in_memory = data.load("digits", **options)
    monkeypatch.setattr(loading, "MEMORY_LIMIT_BYTES", 1000)
    streamed = data.load("digits", **options)
    assert isinstance(streamed.train, data.StreamedExamples)
    assert isinstance(streamed.validation, data.InMemoryExamples)  # 420 bytes
    assert streamed.train.size == 40
    np.testing.assert_array_equal(streamed.train.ids, in_memory.train.ids)
    np.testing.assert_array_equal(streamed.train.labels, in_memory.train.labels)
    np.testing.assert_array_equal(streamed.train.images, in_memory.train.images)
    positions = [7, 3, 7]
    np.testing.assert_array_equal(streamed.train.read(positions), in_memory.train.read(positions))
    for few in (streamed.train, in_memory.train):
        batches = list(few.spread(20).batches(7))
        assert [len(each) for each in batches] == [7, 7, 6]
        np.testing.assert_array_equal(np.concatenate(batches), in_memory.train.images[::2])
    twice = streamed.train.select(np.array([0, 3, 3, 3, 9, 39, 39]))
    (one, same) = data.training_batches(twice, batch_size=7, epochs=2, seed=0)
    assert sorted(one[1].numpy()) == sorted(same[1].numpy()) == sorted(twice.labels)
    ((images, labels),) = data.evaluation_batches(twice, 7)
    np.testing.assert_array_equal(np.round(images * 255), twice.images)
    np.testing.assert_array_equal(labels, twice.labels)
