"""Local contrasts: what a pixel has that its neighbors do not, whether lighter or darker."""

from collections.abc import Iterator

import numpy as np

_BATCH = 1000
# The square of a contrast that hardly shows, of the pixel range; rounding alone makes 1e-5.
_FAINT = 1e-4


def contrasts_of(images: np.ndarray) -> np.ndarray:
    """Returns the squared Laplacian at each pixel, summed over channels: (n, H, W)."""
    contrasts = np.empty(images.shape[:3], images.dtype)
    for some in batches(len(images)):
        columns, rows, _ = _second_differences(images[some])
        contrasts[some] = ((columns + rows) ** 2).sum(axis=3)
    return contrasts


def textures_of(images: np.ndarray) -> np.ndarray:
    """Returns the logarithms of local energies at every other pixel, (n, ⌈H / 2⌉, ⌈W / 2⌉, 3).

    An energy is a squared second difference (of columns, of rows, of both), summed over channels
    and averaged over 3×3 pixels. Whatever takes pixels from between pixels, as a warp does, blurs
    them, here more and there less.
    """
    height, width = images.shape[1:3]
    textures = np.empty((len(images), (height + 1) // 2, (width + 1) // 2, 3), images.dtype)
    for some in batches(len(images)):
        for kind, differences in enumerate(_second_differences(images[some])):
            energies = _averaged((differences**2).sum(axis=3))
            textures[some, ..., kind] = np.log(energies[:, ::2, ::2] + _FAINT)
    return textures


def batches(size: int) -> Iterator[slice]:
    """Yields slices of 1,000 examples, of which there is room for several copies."""
    return (slice(first, first + _BATCH) for first in range(0, size, _BATCH))


def _second_differences(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns them along columns, along rows, and along one after the other."""
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    right, below = padded[:, 1:-1, 2:], padded[:, 2:, 1:-1]
    columns = padded[:, 1:-1, :-2] + right - 2 * images
    rows = padded[:, :-2, 1:-1] + below - 2 * images
    return columns, rows, images - right - below + padded[:, 2:, 2:]


def _averaged(energies: np.ndarray) -> np.ndarray:
    """Returns the means of 3×3 pixels, fewer of them apart at the border."""
    padded = np.pad(energies, [(0, 0), (1, 1), (1, 1)], mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
