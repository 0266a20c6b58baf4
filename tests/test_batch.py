"""How a batch is divided, and put together again."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison.batch import TARGET_SELECTIONS, LabelEncoding, check_split, split
from tfpoison.distribution import Reduction
from tfpoison.randomness import Purpose, make_key


def divide(labels, selection="share", poison_fraction=0.75, classes=4, one_hot=False):
    labels = tf.constant(labels)
    images = tf.reshape(tf.range(len(labels), dtype=tf.float32), [-1, 1, 1, 1])
    return images, split(
        images,
        labels,
        LabelEncoding(classes, one_hot),
        selection=selection,
        poison_fraction=poison_fraction,
        reduction=Reduction("replica"),
        key=make_key(Purpose.CRAFTING, 1),
    )


def numbers(images):
    return tf.reshape(images, [-1]).numpy().astype(int).tolist()


@pytest.mark.parametrize(
    ("selection", "fraction", "poisons", "targets"),
    [
        ("share", 0.75, [0, 1, 2, 3, 4, 5], [6, 7]),
        ("share", 0.3, [0, 1], [2, 3, 4, 5, 6, 7]),  # 2.4 poisons are 2.
        ("share", 0.01, [0], [1, 2, 3, 4, 5, 6, 7]),  # At least one,
        ("share", 0.99, [0, 1, 2, 3, 4, 5, 6], [7]),  # and one target.
        ("share", 1, [0, 1, 2, 3, 4, 5, 6, 7], []),
        ("half", 0.5, [4, 5, 6, 7], [0, 1, 2, 3]),
        ("one", 0.5, [1, 2, 3, 4, 5, 6, 7], [0]),
        ("ten", 0.5, [7], [0, 1, 2, 3, 4, 5, 6]),  # Ten are not there: all but one.
    ],
)
def test_who_is_poison_and_who_is_target(selection, fraction, poisons, targets):
    images, batch = divide([0, 1, 2, 3, 3, 2, 1, 0], selection, fraction)
    assert numbers(batch.poison_images) == poisons
    assert numbers(batch.target_images) == targets
    assert numbers(batch.join()) == numbers(images)
    assert np.flatnonzero(batch.is_poison()).tolist() == poisons


def test_shuffled_targets_are_copies_of_all_images():
    labels = [0, 1, 2, 3, 3, 2, 1, 0]
    images, batch = divide(labels, "shuffled")
    assert numbers(batch.poison_images) == numbers(batch.join()) == numbers(images)
    order = numbers(batch.target_images)
    assert sorted(order) == numbers(images) != order
    assert batch.target_labels.numpy().tolist() == [labels[number] for number in order]
    assert batch.fake_labels.numpy().tolist() == labels  # Each partner's own label.


def test_products_that_round_down_are_mended():
    """0.29 · 100 is 28.999999999999996 in binary."""
    _, batch = divide([0] * 100, "share", 0.29)
    assert len(batch.poison_labels) == 29


@pytest.mark.parametrize("selection", TARGET_SELECTIONS)
@pytest.mark.parametrize("count", [1, 2, 3, 11, 128])
def test_batches_of_any_size(selection, count):
    images, batch = divide([1] * count, selection)
    assert numbers(batch.join()) == numbers(images)
    assert len(batch.poison_labels) >= 1
    assert len(batch.target_labels) >= 1
    assert len(batch.is_poison()) == count


def test_the_fake_label_is_the_most_frequent_of_the_poisons():
    _, batch = divide([3, 2, 2, 0, 1, 1, 1, 1])  # The poisons are 3 2 2 0 1 1: a tie of 1 and 2.
    assert batch.fake_labels.numpy().tolist() == [1, 1]
    _, batch = divide([3, 2, 2, 0, 2, 1, 1, 1])
    assert batch.fake_labels.numpy().tolist() == [2, 2]
    assert batch.target_labels.numpy().tolist() == [1, 1]


def test_fake_labels_are_encoded_like_the_labels():
    plain = np.array([3, 2, 2, 0, 2, 1, 1, 1])
    _, batch = divide(np.eye(4, dtype="float32")[plain], one_hot=True)
    np.testing.assert_array_equal(batch.fake_labels, np.eye(4)[[2, 2]])
    _, batch = divide(plain[:, None].astype("float32"))
    np.testing.assert_array_equal(batch.fake_labels, [[2.0], [2.0]])


@pytest.mark.parametrize(
    ("shape", "outputs", "expected"),
    [
        ((8,), 4, LabelEncoding(4, False)),
        ((8, 1), 4, LabelEncoding(4, False)),
        ((8, 4), 4, LabelEncoding(4, True)),
        ((8, 1), 1, LabelEncoding(2, False)),  # One sigmoid output tells two classes.
        ((8,), 1, LabelEncoding(2, False)),
    ],
)
def test_encodings(shape, outputs, expected):
    assert LabelEncoding.infer(tf.zeros(shape), outputs) == expected


@pytest.mark.parametrize("shape", [(8, 3), (8, 4, 4), ()])
def test_labels_that_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected labels.*4 outputs"):
        LabelEncoding.infer(tf.zeros(shape), 4)


@pytest.mark.parametrize(
    ("selection", "fraction", "message"),
    [
        ("share", 1, "`poison_fraction` below 1: this attack needs the rest"),
        ("share", 0, "`poison_fraction`.* above 0 and at most 1. Received: poison_fraction=0"),
        ("share", 1.2, "`poison_fraction`.* above 0 and at most 1. Received: poison_fraction=1.2"),
        ("some", 0.5, "Unknown target_selection.*Received: 'some'"),
    ],
)
def test_splits_that_are_refused(selection, fraction, message):
    with pytest.raises(ValueError, match=message):
        check_split(selection, fraction, needs_targets=True)


def test_an_attack_without_targets_may_take_all():
    check_split("share", 1, needs_targets=False)
