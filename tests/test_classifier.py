"""Losses and gradients as an attack sees them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison.classifier import Classifier, per_example_loss

LABELS = np.array([0, 2, 1, 1])
LOGITS = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
PROBABILITIES = keras.ops.softmax(LOGITS)


@pytest.mark.parametrize(
    ("loss", "labels", "outputs"),
    [
        ("sparse_categorical_crossentropy", LABELS, PROBABILITIES),
        ("categorical_crossentropy", np.eye(3)[LABELS], PROBABILITIES),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS, LOGITS),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), LABELS[:, None], LOGITS),
        (
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
            np.eye(3)[LABELS],
            LOGITS,
        ),
        (keras.losses.mean_squared_error, np.eye(3)[LABELS], LOGITS),
        (keras.losses.CategoricalHinge(), np.eye(3)[LABELS], LOGITS),
        ([keras.losses.SparseCategoricalCrossentropy(from_logits=True)], LABELS, LOGITS),
        (keras.losses.BinaryCrossentropy(from_logits=True), LABELS % 2, LOGITS[:, :1]),
        ("crossentropy", LABELS, PROBABILITIES),
        ("CE", np.eye(3)[LABELS], PROBABILITIES),
        ("crossentropy", LABELS % 2, PROBABILITIES[:, :1]),
    ],
)
def test_losses_are_keras_own(loss, labels, outputs):
    outputs, labels = tf.convert_to_tensor(outputs), tf.constant(labels)
    ours = per_example_loss(loss)(labels, outputs)
    model = keras.Sequential([keras.Input(outputs.shape[1:]), keras.layers.Identity()])
    model.compile(loss=loss)
    theirs = model.evaluate(outputs, labels, verbose=0)
    assert ours.shape == (4,)
    assert float(tf.reduce_mean(ours)) == pytest.approx(theirs, rel=1e-5)


def test_the_reduction_of_a_loss_is_always_the_mean():
    images = tf.random.stateless_uniform([4, 5], [0, 1])
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    losses = [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        for reduction in ("sum_over_batch_size", "sum", None)
    ]
    values = [float(Classifier(network, loss).loss(images, LABELS)) for loss in losses]
    assert values[0] == pytest.approx(values[1]) == pytest.approx(values[2])
    assert float(Classifier(network, losses[0]).loss(images[:0], LABELS[:0])) == 0


def squared_difference(labels, outputs):
    return keras.ops.mean((labels - outputs) ** 2, axis=-1)


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return squared_difference(y_true, y_pred)


@pytest.mark.parametrize("loss", [squared_difference, OwnLoss()])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_own_losses_see_labels_in_the_precision_of_the_outputs(loss, precision):
    outputs = LOGITS.astype(precision)
    for labels in (np.eye(3, dtype="int64")[LABELS], np.eye(3, dtype="float32")[LABELS]):
        ours = per_example_loss(loss)(tf.constant(labels), tf.constant(outputs))
        assert ours.dtype == precision
        theirs = np.mean((labels - outputs.astype("float64")) ** 2, axis=-1)
        np.testing.assert_allclose(ours, theirs, rtol=1e-15 if precision == "float64" else 1e-6)


class LossThatIsCalled(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.ops.mean(squared_difference(y_true, y_pred))


class Callable:
    def __call__(self, y_true, y_pred):
        return squared_difference(y_true, y_pred)


@pytest.mark.parametrize(("loss", "shape"), [(LossThatIsCalled(), ()), (Callable(), (4,))])
def test_losses_that_define_call_alone(loss, shape):
    ours = per_example_loss(loss)(np.eye(3)[LABELS], tf.constant(LOGITS))
    theirs = per_example_loss("mse")(np.eye(3)[LABELS], tf.constant(LOGITS))
    assert ours.shape == shape
    np.testing.assert_allclose(tf.reduce_mean(ours), tf.reduce_mean(theirs), rtol=1e-6)


@pytest.mark.parametrize("loss", [LossThatIsCalled(), keras.losses.Dice()])
def test_one_number_for_a_batch_is_no_loss_of_each_image(loss):
    images, labels = tf.random.stateless_uniform([4, 5], [0, 1]), np.eye(3)[LABELS]
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    classifier = Classifier(network, loss)
    theirs = float(loss(labels, classifier.predictions(images)))
    assert float(classifier.loss(images, labels)) == pytest.approx(theirs)
    assert float(classifier.loss(images[:0], labels[:0])) == 0
    with pytest.raises(ValueError, match="one number for the batch"):
        classifier.losses(images, labels)


def test_a_loss_that_ignores_a_class_is_refused():
    with pytest.raises(ValueError, match=r"Expected a loss of all classes.*ignore_class=-1"):
        per_example_loss(keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))


@pytest.mark.parametrize("loss", [None, {"a": "mse", "b": "mse"}, ["mse", "mse"]])
def test_other_than_one_loss_is_refused(loss):
    with pytest.raises(ValueError, match="compiled with one loss"):
        per_example_loss(loss)


def linear(frozen=False):
    network = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(4, name="first"), keras.layers.Dense(3)]
    )
    network.get_layer("first").trainable = not frozen
    return Classifier(network, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def test_weights_that_stand_in():
    classifier = linear()
    images = tf.random.stateless_uniform([4, 5], [0, 1])
    shifted = [weight + 0.1 for weight in classifier.weights]
    expected = classifier.predictions(images, shifted)
    assert np.abs(expected - classifier.predictions(images)).max() > 0.1
    for variable, value in zip(classifier.network.trainable_variables, shifted, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(classifier.predictions(images), expected, rtol=1e-6)


def test_frozen_weights_are_left_out():
    assert [tuple(each.shape) for each in linear(frozen=True).weights] == [(4, 3), (3,)]


def test_a_network_that_is_frozen_has_no_gradients():
    network = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    network.trainable = False
    with pytest.raises(ValueError, match="whose weights are all frozen"):
        Classifier(network, "mse").weight_gradients(tf.ones([2, 5]), tf.ones([2, 3]))


def test_weight_gradients_are_those_of_the_training_step():
    classifier = linear()
    images, labels = tf.random.stateless_uniform([4, 5], [0, 1]), tf.constant(LABELS)
    network = classifier.network
    before = network.get_weights()
    gradients = classifier.weight_gradients(images, labels)
    network.compile(keras.optimizers.SGD(1.0), classifier.compiled_loss)
    network.train_on_batch(images, labels)
    for old, new, gradient in zip(before, network.get_weights(), gradients, strict=True):
        np.testing.assert_allclose(old - new, gradient, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_half_precision_gradients_do_not_vanish(policy):
    """Of 5,000 images a gradient of the mean is below what half precision can tell from 0."""
    keras.config.set_dtype_policy(policy)
    classifier = linear()
    assert classifier.loss_scale > 1
    images = 1e-3 * tf.random.stateless_uniform([5000, 5], [0, 1])
    gradients = classifier.weight_gradients(images, tf.zeros([5000], tf.int32))
    assert gradients[0].dtype == tf.float32
    assert (np.abs(gradients[0]) > 0).mean() > 0.9


def test_networks_that_are_no_classifiers_are_refused():
    network = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(3, 3)])
    with pytest.raises(ValueError, match=r"\(n, classes\)"):
        Classifier(network, "mse").predictions(tf.zeros([2, 6, 6, 3]))
