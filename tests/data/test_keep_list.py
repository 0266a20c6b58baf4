"""The keep-list: its file, and that it keeps in `tf.data` what it says."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import KeepList

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


def test_survives_its_file(tmp_path):
    path = tmp_path / "keep.csv"
    path.write_text(KEPT.text())
    assert path.read_text() == "id,label\n1,1\n2,4\n4,5\n"
    read = KeepList.load(path)
    np.testing.assert_array_equal(read.ids, KEPT.ids)
    np.testing.assert_array_equal(read.labels, KEPT.labels)


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
    with pytest.raises(ValueError, match="Expected `ids`"):
        KeepList(ids, labels)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (make_dataset().batch(2), "before batching"),
        (make_dataset().map(lambda image, label: image), "before batching"),
        (make_dataset().map(lambda image, label: (image, tf.cast(label, tf.float32))), "integer"),
        (make_dataset(LABELS[:4]), "ends before position 4"),
        (make_dataset(LABELS[::-1].copy()), "another label at position 4"),
    ],
)
def test_another_data_set_is_refused(dataset, message):
    with pytest.raises(ValueError, match=message):
        KEPT.apply(dataset)
