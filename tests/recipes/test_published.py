"""Published recipes: watermarks worked out by hand."""

import numpy as np

from tfpoison import recipes


def test_watermark():
    def blend(*images, opacity):
        return recipes.get("watermark", epsilon=opacity).change(*images)

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    targets = rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    expected = 0.7 * images + 0.3 * targets[[0, 1, 0, 1, 0]]
    np.testing.assert_allclose(blend(images, targets, opacity=0.3), expected, atol=0.51)
    np.testing.assert_array_equal(blend(images, targets, opacity=0.0), images)
