"""How a batch is divided, and put together again."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison.batch import TARGET_SELECTIONS, LabelEncoding, check_labels, check_split, split
from tfpoison.distribution import Reduction
from tfpoison.randomness import Purpose


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
        key=Purpose.CRAFTING.key(1),
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
    fakes = batch.fake_labels.numpy()
    differs = batch.target_labels.numpy() != labels
    assert 0 < differs.sum() < 8
    np.testing.assert_array_equal(fakes[differs], np.array(labels)[differs])  # Each partner's own,
    assert (fakes != batch.target_labels.numpy()).all()  # but where that is the target's as well.


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
    _, batch = divide([3, 2, 2, 0, 1, 1, 0, 3])  # The poisons are 3 2 2 0 1 1: a tie of 1 and 2.
    assert batch.fake_labels.numpy().tolist() == [1, 1]
    _, batch = divide([3, 2, 2, 0, 2, 1, 1, 1])
    assert batch.fake_labels.numpy().tolist() == [2, 2]
    assert batch.target_labels.numpy().tolist() == [1, 1]


IMBALANCED = {
    "most of one class": [0] * 14 + [1, 2] + [0] * 14 + [3, 1],
    "one class alone": [2] * 32,
    "targets of one class": [1] * 20 + [2] * 4 + [1] * 8,
    "a single image": [3],
}


@pytest.mark.parametrize("selection", TARGET_SELECTIONS)
@pytest.mark.parametrize("labels", IMBALANCED.values(), ids=IMBALANCED)
@pytest.mark.parametrize("one_hot", [False, True])
def test_a_fake_label_is_never_the_true_one(labels, selection, one_hot):
    encoding = LabelEncoding(4, one_hot)
    _, batch = divide(np.eye(4)[labels] if one_hot else labels, selection, one_hot=one_hot)
    poisons, own, fakes = (
        encoding.decode(each).numpy()
        for each in (batch.poison_labels, batch.target_labels, batch.fake_labels)
    )
    assert (own != fakes).all()
    assert ((fakes >= 0) & (fakes < 4)).all()
    none_else = np.array([(poisons == each).all() for each in own])
    np.testing.assert_array_equal(batch.of_no_other_class, none_else)
    # The most frequent class among the poisons that is another one; a partner's may be any of them.
    for true, fake in zip(own[~none_else], fakes[~none_else], strict=True):
        counts = np.bincount(poisons[poisons != true])
        assert counts[fake] == counts.max() or (selection == "shuffled" and fake in poisons)


def test_where_no_other_class_is_at_hand_fake_labels_are_random():
    _, batch = divide([2] * 400, poison_fraction=0.01)
    counts = np.bincount(batch.fake_labels, minlength=4)
    assert (counts[[0, 1, 3]] > 100).all()
    _, again = divide([2] * 400, poison_fraction=0.01)
    np.testing.assert_array_equal(batch.fake_labels, again.fake_labels)


@pytest.mark.parametrize(
    ("numbers_of_classes", "only_class"),
    [
        *(((0.0, 1.0), None), ((-1.0, 1.0), None), ((0.25, 0.75), None), ((0, 1), 0), ((0, 1), 1)),
        *(((0.25, 0.75), 0), ((0.25, 0.75), 1), ((-1, 1), 0), ((np.uint8(0), np.uint8(1)), 1)),
    ],
)
@pytest.mark.parametrize("shape", [(16,), (16, 1)])
def test_two_classes_by_any_numbers(numbers_of_classes, only_class, shape):
    """-1 and 1 with hinge losses, smoothed labels: a fake label is the other class's number."""
    classes = np.array([0] * 11 + [1] + [0, 1] * 2) if only_class is None else [only_class] * 16
    labels = np.array(numbers_of_classes)[classes].reshape(shape)
    _, batch = divide(labels, classes=2)
    expected = np.array(numbers_of_classes)[1 - np.array(classes[12:])]
    assert batch.fake_labels.dtype == labels.dtype
    np.testing.assert_array_equal(batch.fake_labels, expected.reshape(-1, *shape[1:]))


def test_vectors_of_other_numbers_than_0_and_1():
    classes = [3, 2, 2, 0, 2, 1, 1, 1]
    for low, high in ((-1, 1), (0.1, 0.7)):
        labels = np.where(np.eye(4, dtype=bool)[classes], high, low)
        _, batch = divide(labels, one_hot=True)
        expected = np.where(np.arange(4) == 2, high, low)
        np.testing.assert_array_equal(batch.fake_labels, [expected, expected])


def test_images_of_several_classes_get_a_class_that_they_are_not_of():
    labels = np.zeros((8, 4), "float32")
    labels[:6, [1, 3]] = labels[:4, 2] = labels[5, 0] = (
        1  # Classes 1 and 3 six times, 2 four times.
    )
    labels[6, [1, 3]] = labels[7, 3] = 1
    _, batch = divide(labels, one_hot=True)
    np.testing.assert_array_equal(batch.fake_labels, np.eye(4)[[2, 1]])


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


@pytest.mark.parametrize("shape", [(8, 3), (8, 4, 4), (), None])
def test_labels_that_are_refused(shape):
    with pytest.raises(ValueError, match=r"Expected labels.*4 outputs"):
        LabelEncoding.infer(tf.TensorSpec(shape), 4)


@pytest.mark.parametrize("labels", [["cat", "dog"], [1 + 0j, 2]])
@pytest.mark.parametrize("convert", [np.array, tf.constant, lambda each: np.array(each, object)])
def test_labels_that_are_no_numbers(labels, convert):
    with pytest.raises(ValueError, match=r"Expected labels to be numbers.*StringLookup"):
        LabelEncoding.infer(convert(labels), 2)


@pytest.mark.parametrize(
    ("labels", "outputs"),
    [
        ([0, 2, 3], 3),
        ([-1, 0], 2),
        ([0, np.nan], 2),
        ([[1], [2]], 1),
        ([-2, 2], 1),
        ([[1, np.nan]], 2),
    ],
)
def test_classes_that_there_are_not(labels, outputs):
    check_labels(np.clip(np.nan_to_num(labels), 0, max(outputs - 1, 1)), outputs)
    with pytest.raises(ValueError, match=r"Expected labels .*Number the classes from 0"):
        check_labels(np.array(labels), outputs)


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
