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
    levels = np.arange(256)
    pixels = np.zeros((examples.image_shape[-1], len(levels)))
    for images in examples.spread(MOST_EXAMPLES).batches(64):
        for channel, counts in enumerate(pixels):
            counts += np.bincount(images[..., channel].ravel(), minlength=len(levels))
    count = pixels.sum(axis=1)
    mean = pixels @ levels / count
    std = np.sqrt((pixels * (levels - mean[:, None]) ** 2).sum(axis=1) / count)
    return tuple((mean / 255).tolist()), tuple(np.maximum(std / 255, _SMALLEST_STD).tolist())
