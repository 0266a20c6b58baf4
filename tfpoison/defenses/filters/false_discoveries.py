"""False discoveries: how many of those that stand out of their class do so by chance."""

import statistics

import numpy as np

from tfpoison.defenses.filters.base import members_of_classes

# The middle is told from quantiles that poisons of half of a class do not move much.
_LOW, _HIGH = 0.15, 0.35
_low, _high = (statistics.NormalDist().inv_cdf(each) for each in (_LOW, _HIGH))
_TO_MIDDLE = _high / (_low - _high)
# Of examples with one rate those that are farther above come first, which have fewer above them.
_RARER = 1e-9


def rates_of(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the least false discovery rate at which each value is found, in (0, 1], (n, views).

        for each class, with the deviations d of its members from their middle:
            rate at t ← (1 + #{d ≤ -t}) / #{d ≥ t}, or that at an s of 0 < s < t where it is less;
                1 where t ≤ 0

    By chance as many lie far above as below, if the values are distributed symmetrically, however
    that may be; the rest of those above are there for a reason. The middle is that of a normal
    distribution with the same lower quantiles.
    Source: R. F. Barber and E. J. Candès, "Controlling the false discovery rate via knockoffs"
    (arXiv 1404.5609), the estimate of knockoffs+.

    Args:
        values: floats (n, views); those that are suspicious are large.
        labels: integers (n,).
    """
    rates = np.ones_like(values)
    for members in members_of_classes(labels):
        low, high = np.quantile(values[members], [_LOW, _HIGH], axis=0)
        deviations = values[members] - (high + _TO_MIDDLE * (high - low))
        for view, of_view in enumerate(deviations.T):
            rates[members, view] = _rates(of_view)
    return rates


def _rates(deviations: np.ndarray) -> np.ndarray:
    ascending = np.sort(deviations)
    above = len(ascending) - np.searchsorted(ascending, deviations, "left")
    below = np.searchsorted(ascending, -deviations, "right")
    rates = np.where(deviations > 0, np.minimum((1 + below) / above, 1), 1)
    # What is found at one level is found at every lower one.
    order = np.argsort(deviations, kind="stable")
    rates[order] = np.minimum.accumulate(rates[order])
    return np.minimum(rates * (1 + _RARER * above), 1)
