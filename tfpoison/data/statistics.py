"""Statistics of the pixels, for the network's normalisation: of channels, and of patches."""

import numpy as np

from tfpoison.data.examples import Examples

# Enough for three digits; reading all of a large data set would take minutes.
MOST_EXAMPLES = 10_000
_SMALLEST_STD = 1 / 255


# Each has about a thousand patches.
MOST_OF_PATCHES = 2_000


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


def patch_covariance(examples: Examples) -> np.ndarray:
    """Returns the covariance of normalised pixels in patches of 2 × 2, float64 (4·C, 4·C).

    Pixels are normalised by `channel_statistics`; the values of a patch stand row by row, channels
    last. Of more than 2,000 examples, 2,000 at equal distances are looked at.
    """
    mean, std = channel_statistics(examples)
    values = 4 * examples.image_shape[-1]
    count, total, products = 0, np.zeros(values), np.zeros((values, values))
    for images in examples.spread(MOST_OF_PATCHES).batches(64):
        pixels = (images / 255 - mean) / std
        corners = [pixels[:, y : y - 1 or None, x : x - 1 or None] for y in (0, 1) for x in (0, 1)]
        patches = np.concatenate(corners, axis=-1).reshape(-1, values)
        count += len(patches)
        total += patches.sum(axis=0)
        products += patches.T @ patches
    average = total / count
    return products / count - np.outer(average, average)
