import numpy as np

from tfpoison.data import InMemoryExamples, channel_statistics, patch_covariance, statistics


def test_mean_and_standard_deviation_of_each_channel():
    # Channel 0: half black, half white. Channel 1: all grey.
    images = np.zeros((2, 4, 4, 2), np.uint8)
    images[1, :, :, 0] = 255
    images[:, :, :, 1] = 51
    mean, std = channel_statistics(InMemoryExamples(images, np.zeros(2)))
    np.testing.assert_allclose(mean, [0.5, 0.2], atol=1e-12)
    np.testing.assert_allclose(std, [0.5, 1 / 255], atol=1e-12)


def test_of_many_examples_a_part_is_looked_at(monkeypatch):
    monkeypatch.setattr(statistics, "MOST_EXAMPLES", 4)
    images = np.zeros((10, 1, 1, 1), np.uint8)
    images[[0, 2, 5, 7]] = 255  # ⌊10·i/4⌋
    assert channel_statistics(InMemoryExamples(images, np.zeros(10)))[0] == (1.0,)


def test_the_covariance_of_patches(monkeypatch):
    """As NumPy computes it from patches that are cut out one by one."""
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3)).astype(np.uint8)
    monkeypatch.setattr(statistics, "MOST_OF_PATCHES", 5)
    mean, std = channel_statistics(InMemoryExamples(images, np.zeros(10)))
    pixels = (images[::2] / 255 - mean) / std
    patches = [
        each[y : y + 2, x : x + 2].ravel() for each in pixels for y in range(3) for x in range(4)
    ]
    expected = np.cov(np.array(patches).T, bias=True)
    ours = patch_covariance(InMemoryExamples(images, np.zeros(10)))
    np.testing.assert_allclose(ours, expected, atol=1e-12)
