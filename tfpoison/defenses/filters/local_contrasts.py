"""Local contrasts: what a pixel has that its neighbors do not, whether lighter or darker."""

import numpy as np

from tfpoison.defenses.filters.base import batches

# The square of a contrast that hardly shows, of the pixel range; rounding alone makes 1e-5.
_FAINT = 1e-4


def contrasts_of(images: np.ndarray) -> np.ndarray:
    """Returns the squared Laplacian at each pixel, summed over channels: (n, H, W)."""
    contrasts = np.empty(images.shape[:3], images.dtype)
    for some in batches(len(images)):
        columns, rows, _ = _second_differences(images[some])
        contrasts[some] = ((columns + rows) ** 2).sum(axis=3)
    return contrasts


def textures_of(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logarithms of local energies at every other pixel, by direction and by channel.

    An energy is a squared second difference, averaged over 3×3 pixels: (n, ⌈H / 2⌉, ⌈W / 2⌉, 3) of
    columns, of rows and of one after the other, summed over channels, and (n, ⌈H / 2⌉, ⌈W / 2⌉, C)
    of columns and rows for each channel. Whatever takes pixels from between pixels, as a warp does,
    blurs them, here more and there less; what changes colours does it to the steps between them.
    """
    height, width, channels = images.shape[1:]
    shape = len(images), (height + 1) // 2, (width + 1) // 2
    directions = np.empty((*shape, 3), images.dtype)
    colors = np.empty((*shape, channels), images.dtype)
    for some in batches(len(images)):
        energies = np.square(_second_differences(images[some]))
        directions[some] = _textures(np.moveaxis(energies.sum(axis=4), 0, 3))
        colors[some] = _textures(energies[0] + energies[1])
    return directions, colors


def _second_differences(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns them along columns, along rows, and along one after the other."""
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    right, below = padded[:, 1:-1, 2:], padded[:, 2:, 1:-1]
    columns = padded[:, 1:-1, :-2] + right - 2 * images
    rows = padded[:, :-2, 1:-1] + below - 2 * images
    return columns, rows, images - right - below + padded[:, 2:, 2:]


def _textures(energies: np.ndarray) -> np.ndarray:
    """Returns the logarithms of the means of 3×3 pixels, edges repeated, at every other one."""
    padded = np.pad(energies, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    means = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    return np.log(means[:, ::2, ::2] + _FAINT)
