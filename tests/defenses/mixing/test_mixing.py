"""What every mixing keeps: the contract, the table, settings and errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from batches_to_mix import CLASSES, KEY, make_batch, make_classifier, make_network, mixed

from tfpoison.classifier import Classifier
from tfpoison.defenses import mixing
from tfpoison.defenses.mixing import CutMix, Cutout, MaxUp, Mixup
from tfpoison.distribution import replica_id
from tfpoison.randomness import Purpose

OTHER_KEY = Purpose.CRAFTING.key(3, 2)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", mixing.names())
def test_contract(name, jit_compile):
    settings = {"copies": 2} if name == "maxup" else {}
    method, classifier = mixing.get(name, **settings), make_classifier()

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, 8, 8, 3]),
            tf.TensorSpec([None, CLASSES]),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    def mix(images, labels, key):
        return method.mix(classifier, images, labels, key)

    assert mix.get_concrete_function().structured_outputs[0].shape.as_list() == [None, 8, 8, 3]
    # XLA compiles for seconds, and once more for every size.
    for count in (6,) if jit_compile else (6, 1, 0):
        images, labels = make_batch(count)
        result = [each.numpy() for each in mix(images, labels, KEY)]
        assert [each.shape for each in result] == [images.shape, labels.shape]
        assert [each.dtype for each in result] == ["float32", "float32"]
        if count:
            assert images.min() - 1e-6 <= result[0].min() <= result[0].max() <= images.max() + 1e-6
        np.testing.assert_allclose(result[1].sum(axis=1), 1, atol=1e-6)
        assert result[1].min(initial=0) >= 0
        for one, other in zip(result, mix(images, labels, KEY), strict=True):
            np.testing.assert_array_equal(one, other)
        if count == 6:
            assert np.abs(result[0] - images).max() > 0.1
            assert np.abs(result[0] - mix(images, labels, OTHER_KEY)[0]).max() > 0.1


@pytest.mark.parametrize("name", mixing.names())
def test_the_graph_draws_what_eager_code_draws(name):
    method, classifier, batch = mixing.get(name), make_classifier(), make_batch(6)
    eager = method.mix(classifier, *batch, KEY)
    for one, other in zip(eager, tf.function(method.mix)(classifier, *batch, KEY), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", mixing.names())
def test_every_precision_draws_the_same(name, dtype):
    method, classifier = mixing.get(name), make_classifier()
    images, labels = make_batch(6)
    expected = method.mix(classifier, images, labels, KEY)
    images = tf.cast(images, dtype)
    result = method.mix(classifier, images, tf.cast(labels, dtype), KEY)
    for one, other in zip(result, expected, strict=True):
        assert one.dtype == dtype
        atol = 1e-6 if dtype == "float64" else 1e-2
        np.testing.assert_allclose(tf.cast(one, tf.float32), other, atol=atol)


@pytest.mark.parametrize("name", mixing.names())
def test_any_pixel_range(name):
    """A mixture of images shifted and scaled is the mixture shifted and scaled."""
    images, labels = make_batch(6)
    # A network whose logits do not depend on the pixel range, so that MaxUp chooses the same.
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    network.add(keras.layers.LayerNormalization(epsilon=1e-12, center=False, scale=False))
    network.add(keras.layers.Dense(CLASSES))
    classifier = Classifier(network, keras.losses.CategoricalCrossentropy(from_logits=True))
    plain, _ = mixing.get(name).mix(classifier, images, labels, KEY)
    scaled, _ = mixing.get(name).mix(classifier, images * 255 - 100, labels, KEY)
    np.testing.assert_allclose(scaled, plain * 255 - 100, atol=1e-3)


@pytest.mark.parametrize("name", mixing.names())
def test_two_replicas(name, two_cpus):
    """Each replica draws by its own key what one device draws by that key."""
    with two_cpus.scope():
        network = make_network()
    images, labels = make_batch(6)
    classifier = Classifier(network, keras.losses.CategoricalCrossentropy(from_logits=True))
    method = mixing.get(name)

    @tf.function
    def step():
        return two_cpus.run(
            lambda: method.mix(classifier, images, labels, Purpose.CRAFTING.key(0, replica_id()))
        )

    together = [two_cpus.experimental_local_results(each) for each in step()]
    for replica in range(2):
        alone = method.mix(classifier, images, labels, Purpose.CRAFTING.key(0, replica))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[replica], other, atol=1e-6)
    assert np.abs(together[0][0] - together[0][1]).max() > 0.1


# The table, settings and errors.


def test_get():
    assert mixing.names() == ["mixup", "cutmix", "cutout", "maxup"]
    assert mixing.get(None) is None
    assert mixing.get("mixup", ways=4) == Mixup(1.0, 4)
    assert mixing.get("maxup", copies=2, size=3) == MaxUp(2, 3)
    method = Cutout(7)
    assert mixing.get(method) is method
    with pytest.raises(ValueError, match="Did you mean 'cutout'"):
        mixing.get("cutuot")
    with pytest.raises(ValueError, match=r"Unknown setting of the mixing 'cutout'.*'ways'"):
        mixing.get("cutout", ways=2)
    with pytest.raises(TypeError, match="Received: 3"):
        mixing.get(3)
    for each in (None, method):
        with pytest.raises(ValueError, match=r"Received: .* with alpha"):
            mixing.get(each, alpha=1.0)


@pytest.mark.parametrize(
    "method", [Mixup(0.3, 4), CutMix(0.4, 1.0), Cutout(5, 0.25), MaxUp(3, None, 0.5)]
)
def test_settings_are_saved(method):
    config = keras.saving.serialize_keras_object(method)
    assert keras.saving.deserialize_keras_object(config) == method


def test_every_mixing_says_what_it_needs():
    one_hot = {name for name in mixing.names() if mixing.get(name).needs_one_hot}
    classifier = {name for name in mixing.names() if mixing.get(name).needs_classifier}
    assert (one_hot, classifier) == ({"mixup", "cutmix"}, {"maxup"})


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("mixup", {"alpha": 0}, ValueError),
        ("mixup", {"alpha": "1"}, TypeError),
        ("mixup", {"ways": 1}, ValueError),
        ("mixup", {"ways": 2.0}, TypeError),
        ("cutmix", {"alpha": -1.0}, ValueError),
        ("cutmix", {"probability": 0}, ValueError),
        ("cutmix", {"probability": 1.1}, ValueError),
        ("cutout", {"size": 0}, ValueError),
        ("cutout", {"size": 0.5}, TypeError),
        ("cutout", {"fill_value": "mean"}, TypeError),
        ("maxup", {"copies": 0}, ValueError),
        ("maxup", {"size": -1}, ValueError),
        ("maxup", {"fill_value": float("nan")}, ValueError),
    ],
)
def test_settings_that_cannot_be(name, settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        mixing.get(name, **settings)


@pytest.mark.parametrize("name", mixing.names())
def test_images_that_cannot_be(name):
    images, labels = make_batch(4)
    method, classifier = mixing.get(name), make_classifier()
    for wrong in (images[0], (images * 255).astype("uint8")):
        with pytest.raises(ValueError, match="Expected floating-point images"):
            method.mix(classifier, wrong, labels, KEY)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_that_cannot_be(name):
    images, labels = make_batch(4)
    classes = labels.argmax(axis=1)
    # Class numbers, as integers or not, must not be averaged.
    for wrong in (classes, classes[:, None].astype("float32"), labels.astype("int32")):
        with pytest.raises(ValueError, match="Expected one-hot labels"):
            mixed(mixing.get(name), images, wrong)


def test_squares_that_do_not_fit():
    images, labels = make_batch(4)
    for method in (Cutout(9), MaxUp(size=9)):
        with pytest.raises(ValueError, match="size=9"):
            method.mix(make_classifier(), images, labels, KEY)


def test_maxup_needs_a_classifier():
    with pytest.raises(ValueError, match="Expected a classifier"):
        mixed(MaxUp(), *make_batch(4))
