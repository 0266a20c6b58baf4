import numpy as np
import pytest

from tfpoison.data import InMemoryExamples, subsets

LABELS = np.repeat([0, 1, 2], [50, 30, 20])
EXAMPLES = InMemoryExamples(np.zeros((100, 1, 1, 1), np.uint8), LABELS, 2 * np.arange(100))


def choose(size, *, balanced=False, seed=0, wanted=()):
    return subsets.choose(EXAMPLES, size, balanced=balanced, seed=seed, wanted=wanted)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_same_seed_chooses_the_same(balanced):
    chosen = choose(12, balanced=balanced)
    np.testing.assert_array_equal(chosen, choose(12, balanced=balanced))
    assert not np.array_equal(chosen, choose(12, balanced=balanced, seed=1))
    assert len(set(chosen)) == 12
    assert np.all(np.diff(chosen) > 0)


@pytest.mark.parametrize("balanced", [False, True])
def test_a_smaller_subset_is_part_of_a_larger_one(balanced):
    assert set(choose(10, balanced=balanced)) < set(choose(40, balanced=balanced))


@pytest.mark.parametrize("balanced", [False, True])
def test_examples_that_are_chosen_first(balanced):
    left_out = np.setdiff1d(np.arange(100), choose(12, balanced=balanced))[[3, 60, -1]]
    chosen = choose(12, balanced=balanced, wanted=EXAMPLES.ids[left_out])
    assert len(chosen) == 12
    assert set(left_out) < set(chosen)
    # What is chosen anyway changes nothing.
    drawn = choose(12, balanced=balanced)
    again = choose(12, balanced=balanced, wanted=EXAMPLES.ids[drawn[:4]])
    np.testing.assert_array_equal(again, drawn)


@pytest.mark.parametrize(("size", "counts"), [(12, [4, 4, 4]), (14, [5, 5, 4]), (60, [20] * 3)])
def test_balanced_subsets_hold_every_class_alike(size, counts):
    np.testing.assert_array_equal(np.bincount(LABELS[choose(size, balanced=True)]), counts)


def test_without_a_size_all_or_as_many_as_can_be_balanced():
    np.testing.assert_array_equal(choose(None), np.arange(100))
    np.testing.assert_array_equal(np.bincount(LABELS[choose(None, balanced=True)]), [20] * 3)


def test_too_large_a_subset_is_refused():
    with pytest.raises(ValueError, match=r"subset of 100 examples.*101"):
        choose(101)
    with pytest.raises(ValueError, match=r"21 examples of every class.*Class 2 has 20"):
        choose(61, balanced=True)


def test_hold_out_takes_a_share_of_every_class():
    train, held_out = subsets.hold_out(LABELS, 0.2, seed=0)
    np.testing.assert_array_equal(np.sort([*train, *held_out]), np.arange(100))
    np.testing.assert_array_equal(np.bincount(LABELS[held_out]), [10, 6, 4])
    again = subsets.hold_out(LABELS, 0.2, seed=0)[1]
    np.testing.assert_array_equal(held_out, again)
    assert not np.array_equal(held_out, subsets.hold_out(LABELS, 0.2, seed=1)[1])


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 0, 1], [0, 0, 1, 1, 2, 2]])
def test_hold_out_needs_enough_of_every_class(labels):
    with pytest.raises(ValueError, match="no validation split"):
        subsets.hold_out(np.array(labels), 0.2, seed=0)
