"""Where the penultimate features are found."""

import keras
import numpy as np
import pytest

from tfpoison.classifier import Classifier
from tfpoison.features import FeatureExtractor, find_layer, variables_of

IMAGES = np.random.default_rng(0).uniform(size=(4, 6, 6, 3)).astype("float32")


def body():
    return keras.Sequential(
        [keras.Input((6, 6, 3)), keras.layers.Conv2D(5, 3), keras.layers.GlobalAveragePooling2D()]
    )


def sequential():
    return keras.Sequential([body(), keras.layers.Dense(7, "relu"), keras.layers.Dense(3)])


def functional():
    inputs = keras.Input((6, 6, 3))
    hidden = keras.layers.Dense(7, "relu")(keras.layers.Dropout(0.5)(body()(inputs)))
    outputs = keras.layers.Dense(3)(keras.layers.Dropout(0.5)(hidden))
    return keras.Model(inputs, keras.layers.Softmax()(outputs))


def nested():
    inputs = keras.Input((6, 6, 3))
    return keras.Model(inputs, functional()(keras.layers.Rescaling(2.0)(inputs)))


@pytest.mark.parametrize("make", [sequential, functional, nested])
def test_the_input_of_the_last_dense_layer(make):
    network = make()
    features = Classifier(network, "mse").features(IMAGES).numpy()
    assert features.shape == (4, 7)
    dense = [each for each in network._flatten_layers() if isinstance(each, keras.layers.Dense)]
    head = max(dense, key=lambda layer: layer.units == 3)
    logits = features @ head.kernel.numpy() + head.bias.numpy()
    outputs = network.predict(IMAGES, verbose=0)
    if make is not sequential:
        logits = keras.ops.softmax(logits)
    np.testing.assert_allclose(outputs, logits, rtol=1e-5, atol=1e-6)


def test_a_named_layers_output():
    network = sequential()
    name = network.layers[1].name
    for layer in (name, network.layers[1]):
        features = Classifier(network, "mse", feature_layer=layer).features(IMAGES)
        assert features.shape == (4, 7)
        assert features.numpy().min() >= 0  # After the layer's own ReLU.
    convolution = network.layers[0].layers[0]
    features = Classifier(network, "mse", feature_layer=convolution).features(IMAGES)
    assert features.shape == (4, 4 * 4 * 5)  # Maps are laid out flat.


def test_nothing_of_the_layer_stays_changed():
    network = sequential()
    Classifier(network, "mse").features(IMAGES)
    assert "call" not in vars(network.layers[-1])


def test_a_call_of_the_instances_own_is_put_back():
    network = sequential()
    head = network.layers[-1]
    call = head.call

    def own(inputs, training=None):
        return 2 * call(inputs)

    head.call = own
    Classifier(network, "mse").features(IMAGES)
    assert vars(head)["call"] is own


def convolutional_head():
    return keras.Sequential(
        [keras.Input((6, 6, 3)), keras.layers.Conv2D(3, 6), keras.layers.Flatten()]
    )


def two_ways():
    inputs = keras.Input((6, 6, 3))
    parts = [keras.layers.Dense(3)(body()(inputs)) for _ in range(2)]
    return keras.Model(inputs, keras.layers.Add()(parts))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(3)

    def call(self, inputs):
        return self.head(inputs)


@pytest.mark.parametrize("make", [convolutional_head, two_ways, Subclassed])
def test_networks_that_do_not_end_in_one_dense_layer_ask_for_a_name(make):
    with pytest.raises(ValueError, match=r"RobustModel\(\.\.\., features=layer_or_name\)"):
        FeatureExtractor(make())


def test_a_network_that_is_not_built_is_to_be_built():
    network = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    for unbuilt in (network, keras.Sequential([network])):
        with pytest.raises(ValueError, match=r"Expected a network that is built.*keras\.Input"):
            FeatureExtractor(unbuilt)
    network.build((None, 6, 6, 3))
    assert FeatureExtractor(network).layer is network.layers[-1]


def test_names_that_are_refused():
    network = sequential()
    with pytest.raises(ValueError, match="has none"):
        find_layer(network, "hed")
    with pytest.raises(ValueError, match="has none"):
        find_layer(network, keras.layers.Dense(2))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.scale = body(), keras.layers.Dense(3), keras.layers.PReLU()

    def call(self, images):
        return self.scale(self.head(self.body(images)))


def convolutional():
    layers = [keras.layers.Conv2D(3, 1, name="head"), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(5, 3), *layers])


def frozen_head():
    network = sequential()
    network.layers[-1].trainable = False
    return network


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (nested, [(7, 3), (3,)]),
        (Subclassed, [(5, 3), (3,)]),
        (convolutional, [(1, 1, 5, 3), (3,)]),
        (frozen_head, [(5, 7), (7,)]),
        (lambda: keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)]), []),
    ],
    ids=["functional", "subclassed", "convolutional", "frozen", "not built"],
)
def test_the_weights_of_the_last_layer(make, shapes):
    """Every network has some: the default attack is about them."""
    network = make()
    if network.built or shapes:
        network(IMAGES)
    assert [each.shape for each in variables_of(network, "last")] == shapes
