"""Stateless draws."""

import itertools

import numpy as np

from tfpoison.randomness import derangement, make_key, permutation, split_key, uniform_integers


def test_keys_differ_by_every_number():
    keys = [make_key(*numbers) for numbers in itertools.product([0, 1, 2**31], [0, 1], [0, 1])]
    assert len({tuple(key.numpy()) for key in keys}) == len(keys)
    np.testing.assert_array_equal(make_key(5, 3, 1), make_key(5, 3, 1))


def test_split_keys_differ():
    keys = [tuple(key.numpy()) for key in itertools.islice(split_key(make_key(0)), 50)]
    assert len(set(keys)) == 50


def test_integers_include_both_bounds_evenly():
    draws = uniform_integers(make_key(1), 2, 5, [4000]).numpy()
    counts = np.bincount(draws)
    assert counts[:2].sum() == 0
    # 1,000 each are expected; five deviations of 27 are room enough.
    assert np.abs(counts[2:] - 1000).max() < 140


def test_permutations_and_derangements():
    for seed in range(40):
        key = make_key(seed)
        for count in (1, 2, 3, 10):
            assert sorted(permutation(key, count).numpy()) == list(range(count))
        for count in (2, 3, 10):
            mapped = derangement(key, count).numpy()
            assert sorted(mapped) == list(range(count))
            assert (mapped != np.arange(count)).all()
    both = {tuple(derangement(make_key(seed), 3).numpy()) for seed in range(40)}
    assert both == {(1, 2, 0), (2, 0, 1)}
