"""False discoveries: counted by hand, and what chance alone makes of them."""

import statistics

import numpy as np
import pytest

from tfpoison.defenses.filters.false_discoveries import rates_of


def in_one_class(values):
    return rates_of(np.asarray(values, float)[:, np.newaxis], np.zeros(len(values), int))[:, 0]


def test_rates_are_those_counted():
    """Quantiles of .15 and .35 of 21 at places 3 and 7: -4 z and -z, so that the middle is 0."""
    low, high = (statistics.NormalDist().inv_cdf(each) for each in (0.15, 0.35))
    below = [9 * low, 3 * low, 2 * low, low, *np.linspace(low, high, 5)[1:4], high]
    values = [*below, 0, 0, 0, 0, -0.99 * high, -1.5 * high, *(-low * np.arange(1, 8) * 0.9)]
    rates = in_one_class(values[::-1])[::-1]
    assert (rates[:12] == 1).all()  # Nothing below the middle, or in it, is suspicious.
    for place in range(12, 21):
        t = values[place]
        at = [
            (1 + sum(each <= -s for each in values)) / sum(each >= s for each in values)
            for s in values
            if 0 < s <= t
        ]
        assert rates[place] == pytest.approx(min([1, *at]))
    assert rates[20] < rates[14] < 1


def test_chance_alone_makes_no_discovery():
    draw = np.random.default_rng(0)
    for noise in (draw.normal(size=5000), draw.standard_t(3, size=5000)):
        assert in_one_class(noise).min() > 0.3


def test_what_is_there_for_a_reason_is_found_in_each_class_and_view():
    """A tenth of one class in one view, and half of the other in the other, of another scale."""
    draw = np.random.default_rng(0)
    labels = np.repeat([3, 7], 1000)
    values = draw.normal(size=(2000, 2)) * [1, 100] + np.where(labels == 7, 50, 0)[:, np.newaxis]
    values[:100, 0] += 8
    values[1000:1500, 1] += 800
    rates = rates_of(values, labels)
    assert rates[:100, 0].max() < 0.02 and rates[1000:1500, 1].max() < 0.01
    assert rates[100:1000, 0].min() > 0.05 and rates[1500:, 1].min() > 0.05
    assert rates[:1000, 1].min() > 0.2 and rates[1000:, 0].min() > 0.2


def test_of_equal_rates_the_larger_value_has_the_less():
    values = np.concatenate([np.random.default_rng(0).normal(size=200), 20 + np.arange(50.0)])
    found = in_one_class(values)[200:]
    assert found == pytest.approx(1 / 50) and (np.diff(found) < 0).all()


def test_equal_values_are_no_discovery():
    assert (in_one_class(np.ones(9)) == 1).all()
