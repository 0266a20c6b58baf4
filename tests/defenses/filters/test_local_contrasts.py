"""Local contrasts: by hand for a dot, and as SciPy's filters have them."""

import numpy as np
import pytest
from scipy import ndimage

from tfpoison.defenses.filters.local_contrasts import contrasts_of, textures_of


def test_contrasts():
    images = np.zeros((1, 4, 5, 2), np.float32)
    images[0, 1, 2], images[0, 3, 0, 0] = 1, 2  # One in both channels, one in a corner.
    expected = np.array([[0, 0, 1, 0, 0], [0, 1, 16, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
    corner = np.zeros((4, 5))
    corner[3, 0], corner[2, 0], corner[3, 1] = 16, 4, 4
    np.testing.assert_allclose(contrasts_of(images)[0], 2 * expected + corner)


@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 5, 1), (1, 2, 1)])
def test_textures_are_logarithms_of_filtered_images(shape):
    images = np.random.default_rng(0).random((3, *shape))
    second, first = [1, -2, 1], [1, -1]

    def energies(image):
        columns = ndimage.correlate1d(image, second, axis=1, mode="nearest")
        rows = ndimage.correlate1d(image, second, axis=0, mode="nearest")
        both = ndimage.correlate1d(image, first, axis=1, mode="nearest", origin=-1)
        both = ndimage.correlate1d(both, first, axis=0, mode="nearest", origin=-1)
        for differences in (columns, rows, both):
            yield ndimage.uniform_filter(differences**2, (3, 3, 1), mode="nearest")

    expected = np.array([list(energies(image)) for image in images])[:, :, ::2, ::2]
    directions, colors = textures_of(images)
    of_directions = np.moveaxis(expected.sum(axis=4), 1, 3)
    np.testing.assert_allclose(directions, np.log(of_directions + 1e-4), rtol=1e-6)
    np.testing.assert_allclose(colors, np.log(expected[:, 0] + expected[:, 1] + 1e-4), rtol=1e-6)


def test_flat_images_have_the_least_texture():
    for textures in textures_of(np.full((2, 4, 4, 3), 0.3, np.float32)):
        assert textures.dtype == np.float32 and textures.shape == (2, 2, 2, 3)
        np.testing.assert_allclose(textures, np.log(1e-4), rtol=1e-5)
