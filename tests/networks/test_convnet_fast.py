"""The fast network: whitened patches, and convolutions that begin by passing on."""

import keras
import numpy as np
import pytest

from tfpoison import data, networks
from tfpoison.data import InMemoryExamples
from tfpoison.fitting.settings import NetworkSettings
from tfpoison.fitting.trainer import network_maker
from tfpoison.networks.convnet_fast import Dirac, PatchWhitening


def correlated(count=200):
    """Images of 9 × 9 pixels whose neighbours and channels are alike."""
    drawn = np.random.default_rng(0).normal(size=(count, 10, 10, 3))
    drawn += drawn[..., :1] + np.roll(drawn, 1, axis=1)
    return np.clip(127 + 25 * drawn[:, 1:, 1:], 0, 255).astype(np.uint8)


def test_patches_of_the_training_images_are_whitened(tmp_path):
    train = InMemoryExamples(correlated(), np.arange(200) % 4)
    images = data.ImageClassification("correlated", tuple("abcd"), train, train)
    network = network_maker(NetworkSettings("convnet_fast(width=4)"), images)(3)
    whitening = network.get_layer("whitening")
    extract = keras.Model(network.input, whitening.output)
    seen = keras.ops.convert_to_numpy(extract(train.images / 255.0)).reshape(-1, 24)
    np.testing.assert_array_equal(seen[:, :12], -seen[:, 12:])
    np.testing.assert_allclose(np.cov(seen[:, :12].T), np.eye(12), atol=0.01)
    assert not whitening.trainable_weights
    # The same whatever the seed, and saved with the network.
    other = network_maker(NetworkSettings("convnet_fast(width=4)"), images)(4)
    np.testing.assert_array_equal(whitening.kernel, other.get_layer("whitening").kernel)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras").get_layer("whitening")
    np.testing.assert_array_equal(whitening.kernel, loaded.kernel)
    np.testing.assert_array_equal(whitening.covariance, loaded.covariance)


def test_without_a_covariance_patches_are_pixels():
    layer = PatchWhitening()
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 1)).astype("f")
    corners = [images[:, y : y + 2, x : x + 3] for y in (0, 1) for x in (0, 1)]
    expected = np.concatenate([*corners, *(-each for each in corners)], axis=-1)
    ours = keras.ops.convert_to_numpy(layer(images))
    np.testing.assert_allclose(ours, expected / np.sqrt(1 + 5e-4), atol=1e-6)


def test_a_covariance_of_other_channels_is_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 4\) for images of 1 channel.*\(12, 12\)"):
        networks.get("convnet_fast", (9, 9, 1), 10, patch_covariance=np.eye(12))


def test_convolutions_begin_by_passing_their_channels_on():
    kernel = keras.ops.convert_to_numpy(Dirac(seed=1)((3, 3, 4, 6)))
    images = np.random.default_rng(0).normal(size=(1, 5, 5, 4)).astype("f")
    convolved = keras.ops.convert_to_numpy(keras.ops.conv(images, kernel, padding="same"))
    np.testing.assert_array_equal(convolved[..., :4], images)
    # PyTorch's default: uniform within 1/√fan_in.
    drawn = np.abs(kernel[..., 4:])
    assert 0.9 / 6 < drawn.max() <= 1 / 6
    assert abs(drawn.mean() - 1 / 12) < 0.02
