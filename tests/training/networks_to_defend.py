"""Networks, data and trainings for the tests of this room. (Not a test.)"""

import keras
import numpy as np

IMAGES, CLASSES = 44, 3  # Batches of 16 leave a last one of 12.


def make_data(count=IMAGES, scale=1.0, shape=(8, 8, 3)):
    draw = np.random.default_rng(0)
    images = (scale * draw.uniform(size=(count, *shape))).astype("float32")
    return images, draw.integers(CLASSES, size=count)


def make_network(*, softmax=False, dropout=0.0, functional=False, frozen=False):
    """A network with everything that tells training from inference."""
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Conv2D(4, 3, strides=2, name="convolution"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(dropout, seed=3),
        keras.layers.Flatten(),
        keras.layers.Dense(CLASSES, activation="softmax" if softmax else None, name="head"),
    ]
    if frozen:
        layers[0].trainable = False
    if not functional:
        return keras.Sequential([keras.Input((8, 8, 3)), *layers])
    inputs = outputs = keras.Input((8, 8, 3))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


@keras.saving.register_keras_serializable("tfpoison_tests")
class Subclassed(keras.Model):
    """A network without a graph, whose `call` does not tell training from inference."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(4, 3, strides=2, activation="relu")
        self.features = keras.layers.Flatten(name="features")
        self.head = keras.layers.Dense(CLASSES)

    def call(self, inputs):
        return self.head(self.features(self.convolution(inputs)))


def logits_loss(**settings):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **settings)


def compile_and_fit(model, data=None, *, optimizer="adam", loss=None, fit=None, **compile_settings):
    model.compile(optimizer, loss or logits_loss(), metrics=["accuracy"], **compile_settings)
    settings = {"batch_size": 16, "epochs": 2, "verbose": 0, "shuffle": False} | (fit or {})
    return model.fit(*(data or make_data()), **settings).history


def assert_same_bits(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def differs(ours, theirs):
    return any((one != other).any() for one, other in zip(ours, theirs, strict=True))


def small_network(outputs="plain", units=CLASSES, activation="softmax"):
    """A network that is quick to train eagerly, whose output is called "animal"."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 3))
    output = keras.layers.Dense(units, activation, name="animal")(keras.layers.Flatten()(inputs))
    structures = {"plain": output, "dictionary": {"animal": output}, "list": [output]}
    return keras.Model(inputs, structures[outputs])


def classes_of_small_data(count=32):
    return np.arange(count) % CLASSES


def not_built():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(CLASSES)])


def lagging(**settings):
    """Layers whose inputs are far smaller than the moving statistics that they start with."""
    small = keras.initializers.RandomNormal(stddev=0.01, seed=1)
    layers = [
        each
        for _ in range(4)
        for each in (
            keras.layers.Dense(8, use_bias=False, kernel_initializer=small),
            keras.layers.BatchNormalization(momentum=0.999, **settings),
            keras.layers.ReLU(),
        )
    ]
    network = [keras.Input((8, 8, 3)), keras.layers.Flatten(), *layers, keras.layers.Dense(CLASSES)]
    return keras.Sequential(network)
