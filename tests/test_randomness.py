"""Stateless draws."""

import itertools
import pathlib

import numpy as np
import pytest

import tfpoison
from tfpoison.randomness import (
    Purpose,
    derangement,
    permutation,
    split_key,
    uniform_integers,
)

PACKAGE = pathlib.Path(tfpoison.__file__).parent
NUMBERS = list(
    itertools.product(
        [Purpose.CRAFTING, Purpose.MIXING], [0, 1, 2**31], [0, 1, 2**31, 2**62 - 1], [0, 1]
    )
)


def test_keys_differ_by_purpose_and_every_number():
    keys = [purpose.key(*numbers) for purpose, *numbers in NUMBERS]
    assert len({tuple(key.numpy()) for key in keys}) == len(keys)
    np.testing.assert_array_equal(Purpose.MIXING.key(5, 3), Purpose.MIXING.key(5, 3))


def test_generators_differ_by_purpose_and_every_number():
    numbers = [*NUMBERS, (Purpose.CRAFTING, 0), (Purpose.CRAFTING, 0, 0)]
    draws = [purpose.generator(*each).integers(2**63) for purpose, *each in numbers]
    assert len(set(draws)) == len(draws)
    assert draws[0] == Purpose.CRAFTING.generator(0, 0, 0).integers(2**63)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda each: each.stem)
def test_every_draw_of_the_package_names_its_purpose(path):
    unnamed = (
        "stateless_fold_in(",
        "default_rng(",
        "RandomState(",
        "np.random.seed(",
        "Generator.from_seed(",
    )
    found = [each for each in unnamed if each in path.read_text()]
    assert not found or path.name == "randomness.py"


def test_split_keys_differ():
    keys = [tuple(key.numpy()) for key in itertools.islice(split_key(Purpose.CRAFTING.key(0)), 50)]
    assert len(set(keys)) == 50


def test_integers_include_both_bounds_evenly():
    draws = uniform_integers(Purpose.CRAFTING.key(1), 2, 5, [4000]).numpy()
    counts = np.bincount(draws)
    assert counts[:2].sum() == 0
    # 1,000 each are expected; five deviations of 27 are room enough.
    assert np.abs(counts[2:] - 1000).max() < 140


def test_permutations_and_derangements():
    for seed in range(40):
        key = Purpose.CRAFTING.key(seed)
        for count in (1, 2, 3, 10):
            assert sorted(permutation(key, count).numpy()) == list(range(count))
        for count in (2, 3, 10):
            mapped = derangement(key, count).numpy()
            assert sorted(mapped) == list(range(count))
            assert (mapped != np.arange(count)).all()
    both = {tuple(derangement(Purpose.CRAFTING.key(seed), 3).numpy()) for seed in range(40)}
    assert both == {(1, 2, 0), (2, 0, 1)}
