"""Mean and standard deviation of the pixels, for the network's normalisation."""

import numpy as np

from tfpoison.data.examples import Examples

# Enough for three digits; reading all of a large data set would take minutes.
MOST_EXAMPLES = 10_000
_SMALLEST_STD = 1 / 255


def channel_statistics(examples: Examples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and the standard deviation of each channel's pixels, in [0, 1].

    Of more than 10,000 examples, 10,000 at equal distances are looked at. The standard deviation is
    at least one grey level, 1/255, so that one can divide by it.
    """
    count = min(examples.size, MOST_EXAMPLES)
    images = examples.read(np.arange(count) * examples.size // count)
    axes = (0, 1, 2)
    mean = images.mean(axes, dtype=np.float64) / 255
    std = np.maximum(images.std(axes, dtype=np.float64) / 255, _SMALLEST_STD)
    return tuple(map(float, mean)), tuple(map(float, std))
