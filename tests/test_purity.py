"""Networks that other weights cannot stand in for, or that crafting would leave a trace in."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison.classifier import Classifier

IMAGES = tf.random.stateless_uniform([6, 4, 4, 1], [0, 1])
LABELS = np.arange(6) % 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Plain(keras.Model):
    """Two layers, and a third one that nothing goes through: it has no gradient."""

    def __init__(self):
        super().__init__()
        self.flat, self.first = keras.layers.Flatten(), keras.layers.Dense(5)
        self.head, self.unused = keras.layers.Dense(3), keras.layers.Dense(3)

    def build(self, shape):
        self.first.build((None, 16))
        self.head.build((None, 5))
        self.unused.build((None, 16))
        self.built = True

    def call(self, inputs):
        return self.head(self.first(self.flat(inputs)))


class CompiledCall(Plain):
    @tf.function
    def call(self, inputs):
        return self.head(self.first(self.flat(inputs)))


class CompiledClosure(Plain):
    def __init__(self):
        super().__init__()
        self.compiled = tf.function(lambda inputs: self.first(inputs), jit_compile=True)

    def call(self, inputs):
        return self.head(self.compiled(self.flat(inputs)))


class CompiledLayer(Plain):
    def __init__(self):
        super().__init__()
        self.first.call = tf.function(self.first.call)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    network = Plain()
    network(IMAGES)
    path = tmp_path_factory.mktemp("saved")
    network.export(path, verbose=False)
    return path


def with_saved_layer(path, *, trainable):
    layer = keras.layers.TFSMLayer(path, call_endpoint="serve")
    layer.trainable = trainable
    return keras.Sequential([keras.Input((4, 4, 1)), layer, keras.layers.Dense(3)])


def check_swapping(network):
    """Gradients are those of training; other weights count, and leave no trace."""
    classifier = Classifier(network, LOSS)
    before = network(IMAGES).numpy()
    gradients = classifier.weight_gradients(IMAGES, LABELS)
    with tf.GradientTape() as tape:
        loss = LOSS(LABELS, network(IMAGES))
    expected = tape.gradient(loss, [each.value for each in network.trainable_variables])
    for ours, theirs in zip(gradients, expected, strict=True):
        theirs = tf.zeros_like(ours) if theirs is None else theirs
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    zeros = [tf.zeros_like(each) for each in classifier.weights]
    assert np.abs(classifier.predictions(IMAGES, zeros)).max() == 0
    np.testing.assert_array_equal(network(IMAGES), before)


@pytest.mark.parametrize("called_before", [True, False])
@pytest.mark.parametrize("kind", [CompiledCall, CompiledClosure, CompiledLayer])
def test_compiled_weights_are_refused(kind, called_before):
    network = kind()
    network.build(IMAGES.shape)
    if called_before:
        network(IMAGES)
    with pytest.raises(ValueError, match=r"dense.*kernel.*Take @tf.function away"):
        Classifier(network, LOSS).weight_gradients(IMAGES, LABELS)
    network.set_weights([0 * each for each in network.get_weights()])
    assert np.abs(network(IMAGES)).max() == 0


@pytest.mark.parametrize("kind", [Plain, CompiledClosure, CompiledLayer])
def test_what_is_compiled_may_be_frozen(kind):
    network = kind()
    network.build(IMAGES.shape)
    network.first.trainable = kind is Plain
    check_swapping(network)


def test_a_saved_model_must_be_frozen(saved):
    check_swapping(with_saved_layer(saved, trainable=False))
    with pytest.raises(ValueError, match="SavedModel"):
        Classifier(with_saved_layer(saved, trainable=True), LOSS).weight_gradients(IMAGES, LABELS)


def test_weights_are_looked_at_again_once_others_train():
    network = CompiledLayer()
    network.build(IMAGES.shape)
    network.first.trainable = False
    Classifier(network, LOSS).weight_gradients(IMAGES, LABELS)
    network.first.trainable = True
    with pytest.raises(ValueError, match=r"tf\.function"):
        Classifier(network, LOSS).weight_gradients(IMAGES, LABELS)


class VariableOfTensorFlow(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        return inputs


class GeneratorOfTensorFlow(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.generator = tf.random.Generator.from_seed(0)

    def call(self, inputs):
        return inputs + self.generator.normal([16])


class CompiledCounter(keras.layers.Layer):
    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    @tf.function
    def call(self, inputs):
        self.calls.assign_add(1.0)
        return inputs


class Stateful(Plain):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        super().build(shape)
        self.layer.build((None, 16))

    def call(self, inputs):
        return self.head(self.first(self.layer(self.flat(inputs))))


@pytest.mark.parametrize("kind", [VariableOfTensorFlow, GeneratorOfTensorFlow, CompiledCounter])
@pytest.mark.parametrize("question", ["predictions", "features"])
def test_state_that_crafting_would_change_is_refused(kind, question):
    network = Stateful(kind())
    network.build(IMAGES.shape)
    classifier = Classifier(network, LOSS, feature_layer=network.first)
    with pytest.raises(ValueError, match=r"Keep state in add_weight"):
        getattr(classifier, question)(IMAGES)


class Counter(keras.layers.Layer):
    """Counts the calls, twice, and draws at random."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.mean, self.seed = keras.metrics.Mean(), keras.random.SeedGenerator(1)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        self.mean.update_state(keras.ops.mean(inputs))
        return inputs + keras.random.normal(inputs.shape[1:], seed=self.seed)


class CountingLoss(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self.calls = keras.Variable(0.0)

    def call(self, y_true, y_pred):
        self.calls.assign_add(1.0)
        return LOSS.call(y_true, y_pred)


def test_state_of_keras_stays_as_it_was():
    loss = CountingLoss()
    counter = Counter()
    network = keras.Sequential([keras.layers.Flatten(), counter, keras.layers.Dense(3)])
    network(IMAGES)
    variables = [*network.variables, *counter.mean.variables]
    before = [each.numpy() for each in variables]
    classifier = Classifier(network, loss)
    classifier.weight_gradients(IMAGES, LABELS)
    classifier.losses(IMAGES, LABELS)
    classifier.features(IMAGES)
    for old, variable in zip(before, variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    assert float(loss.calls) == 0
