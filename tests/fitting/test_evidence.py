"""What filters are told of the images themselves."""

import numpy as np

from tfpoison.data import InMemoryExamples
from tfpoison.fitting.evidence import averaged


def test_small_images_stay_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (600, 6, 8, 3), dtype=np.uint8)
    found = averaged(InMemoryExamples(images, np.zeros(600)), 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, images / 255, rtol=1e-6)


def test_large_images_are_averaged():
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 16, 1), dtype=np.uint8)
    found = averaged(InMemoryExamples(images, np.zeros(3)), 12)
    blocks = images.reshape(3, 12, 2, 8, 2, 1).mean(axis=(2, 4))
    np.testing.assert_allclose(found, blocks / 255, rtol=1e-5)
