"""What every transform keeps, and what each is: against a second computation."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import ndimage

import tfpoison
from tfpoison import defenses
from tfpoison.defenses import transforms

COLOURS = np.random.default_rng(0).uniform(size=(3, 16, 24, 3)).astype("float32")


@pytest.mark.parametrize("name", transforms.names())
class TestEveryTransform:
    def test_any_pixel_range(self, name):
        transform, low, span = transforms.get(name), np.array([-2, 0, 10]), np.array([4, 1, 255])
        changed = transform(COLOURS * span + low, (low, low + span))
        np.testing.assert_allclose((changed - low) / span, transform(COLOURS), atol=1e-6)
        assert np.abs(transform(COLOURS) - COLOURS).max() > 0.01

    def test_images_of_a_graph(self, name):
        """Of a number that is not known when it is traced, none at all; in any precision."""
        transform = transforms.get(name)
        graph = tf.function(transform, [tf.TensorSpec([None, 16, 24, 3])])
        np.testing.assert_allclose(graph(COLOURS), transform(COLOURS), atol=1e-6)
        assert graph(COLOURS[:0]).shape == (0, 16, 24, 3)
        assert transform(COLOURS.astype("float16")).dtype == tf.float16
        precise = transform(COLOURS.astype("float64"))
        assert precise.dtype == tf.float64
        np.testing.assert_allclose(precise, transform(COLOURS), atol=1e-6)

    def test_images_and_channels_that_cannot_be(self, name):
        transform = transforms.get(name)
        for wrong in (COLOURS[0], (COLOURS * 255).astype("uint8")):
            with pytest.raises(ValueError, match="Expected floating-point images"):
                transform(wrong)
        if name in ("jpeg", "grayscale"):
            with pytest.raises(ValueError, match="of 1 or 3 channels"):
                transform(COLOURS[..., :2])
        else:
            np.testing.assert_array_equal(transform(COLOURS[..., :2]), transform(COLOURS)[..., :2])

    def test_a_step_is_one_of_keras_on_changed_images(self, name, tmp_path):
        """Saved and loaded it is the same."""
        transform = transforms.get(name)
        model, plain = make_model(None, transform=name), make_model(None)
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
        assert model.transform == transform
        assert model.supports_jit == transform.compiles
        labels = np.arange(3)
        model.train_on_batch(COLOURS * 255, labels)
        plain.train_on_batch(transform(COLOURS) * 255, labels)
        for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def make_model(attack, **settings):
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((16, 24, 3)), keras.layers.Rescaling(1 / 255)])
    network.add(keras.layers.Flatten())
    network.add(keras.layers.Dense(4))
    model = tfpoison.RobustModel(network, attack, pixel_range=(0, 255), **settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 75])
def test_jpeg_is_that_of_pillow(quality, channels):
    images = np.random.default_rng(1).integers(256, size=(2, 11, 20, channels), dtype=np.uint8)
    files = [io.BytesIO(), io.BytesIO()]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
    expected = np.stack([np.asarray(Image.open(file)) for file in files]).reshape(images.shape)
    changed = transforms.get("jpeg", quality=quality)(images.astype("float32"), (0, 255))
    # Of two decoders each may round its inverse transform otherwise.
    np.testing.assert_allclose(changed, expected, atol=4)


def test_grayscale():
    expected = COLOURS.astype("float64") @ [0.2989, 0.587, 0.114]
    changed = transforms.get("grayscale")(COLOURS)
    np.testing.assert_allclose(changed, np.stack([expected] * 3, axis=-1), atol=1e-6)
    grey = COLOURS[..., :1]
    np.testing.assert_array_equal(transforms.get("grayscale")(grey), grey)


def test_bit_depth():
    levels = np.array([0, 0.16, 0.17, 0.49, 0.51, 0.84, 1.2], "float64").reshape(1, 7, 1, 1)
    changed = transforms.get("bit_depth", bits=2)(levels).numpy().ravel()
    np.testing.assert_allclose(changed, np.array([0, 0, 1, 1, 2, 3, 3]) / 3)


def test_blur():
    """Far from the border that of SciPy; a grey image stays as it is up to the border."""
    images = np.random.default_rng(2).uniform(size=(2, 30, 33, 2))
    blur = transforms.get("blur", sigma=1.5)
    expected = ndimage.gaussian_filter(images, (0, 1.5, 1.5, 0), truncate=8)
    np.testing.assert_allclose(blur(images)[:, 12:-12, 12:-12], expected[:, 12:-12, 12:-12])
    np.testing.assert_allclose(blur(np.full((1, 5, 6, 1), 0.3)), 0.3)


@pytest.mark.parametrize("name", ["jpeg", "bit_depth"])
def test_gradients_pass_straight_through(name):
    images, weights = tf.constant(COLOURS), np.random.default_rng(3).normal(size=COLOURS.shape)
    with tf.GradientTape() as second:
        second.watch(images)
        with tf.GradientTape() as first:
            first.watch(images)
            value = tf.reduce_sum(weights * transforms.get(name)(images) ** 2)
        gradient = first.gradient(value, images)
    np.testing.assert_allclose(gradient, 2 * weights * transforms.get(name)(images), rtol=1e-5)
    # Once more: by what the first one depends on.
    np.testing.assert_allclose(second.gradient(gradient, images), 2 * weights, rtol=1e-5)


@pytest.mark.parametrize("attack", ["evasion", "gradient_matching"])
def test_poisons_are_crafted_through_it_and_targets_are_not(attack):
    """Through a transform that leaves nothing but the mean, poisons are constant within an image.

    Their gradient is, as that of every pixel is the same.
    """
    flat = transforms.get("blur", sigma=1e4)
    settings = {"epsilon": 0.1, "steps": 1, "initializer": "zero"}
    model = make_model(attack, transform=flat, **settings)
    labels = np.array([0, 1, 2])
    crafted = model.craft(COLOURS * 255, labels)
    change = (crafted.poisoned - crafted.clean).numpy()[crafted.is_poison.numpy()]
    assert np.abs(change).max() > 1
    assert np.ptp(np.sign(change[:, 2:-2, 2:-2]), axis=(1, 2)).max() == 0
    plain = make_model(attack, **settings).craft(COLOURS * 255, labels)
    assert (plain.poisoned != crafted.poisoned).numpy().any()


def test_expressions():
    defense = defenses.get("jpeg(quality=50)+gradient_matching+mixup")
    assert defense.transform == transforms.get("jpeg", quality=50)
    assert defense.crafting is not None and defense.mixing is not None
    with pytest.raises(ValueError, match="two with their own transform"):
        defenses.get("jpeg+blur")


def test_settings_that_cannot_be():
    for name, settings in (
        ("jpeg", {"quality": 0}),
        ("bit_depth", {"bits": 9}),
        ("blur", {"sigma": 0.0}),
    ):
        with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
            transforms.get(name, **settings)
