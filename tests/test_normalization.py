"""BatchNormalization in fewer operations: the values and the derivatives of Keras's."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.normalization import folded

IMAGES = np.random.default_rng(0).uniform(size=(2, 6, 6, 3))
LABELS = np.array([0, 2])


def make_network(dtype="float64"):
    """One BatchNormalization after each of two convolutions, one after a sum; none is neutral."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3), dtype=keras.DTypePolicy(dtype).variable_dtype)
    x = keras.layers.Conv2D(4, 3, strides=2, dtype=dtype, name="first")(inputs)
    x = keras.layers.BatchNormalization(dtype=dtype, scale=False, name="first_bn")(x)
    y = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, dtype=dtype)(x)
    z = keras.layers.BatchNormalization(dtype=dtype, center=False, epsilon=0.1)(y)
    x = keras.layers.BatchNormalization(dtype=dtype)(keras.layers.Add(dtype=dtype)([x, y, z]))
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(keras.layers.ReLU(dtype=dtype)(x))
    network = keras.Model(inputs, keras.layers.Dense(3, dtype=dtype)(x))
    draw = np.random.default_rng(1)
    network.set_weights([draw.uniform(0.2, 1, each.shape) for each in network.weights])
    return network


def test_values_and_first_and_second_derivatives():
    network = make_network()
    weights = [each.value for each in network.trainable_variables]
    images = tf.constant(IMAGES)

    def derive(predict):
        with tf.GradientTape() as outer:
            outer.watch(images)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                outputs = predict()
                loss = keras.losses.sparse_categorical_crossentropy(LABELS, outputs, True)
            gradients = tape.gradient(loss, weights)
            length = tf.add_n([tf.reduce_sum(each**2) for each in gradients])
        return outputs, *gradients, outer.gradient(length, images)

    classifier = Classifier(network)
    theirs = derive(lambda: network(images, training=False))
    ours = derive(lambda: classifier.predictions(images))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("dtype", "left"), [("float32", 1), ("mixed_float16", 3)])
def test_only_what_follows_no_convolution_multiplies_images(dtype, left):
    network = make_network(dtype)
    with folded(network):
        traced = tf.function(network).get_concrete_function(tf.TensorSpec([2, 6, 6, 3]))
    products = [each for each in traced.graph.get_operations() if each.type == "Mul"]
    assert sum(each.outputs[0].shape[0:1] == [2] for each in products) == left


def test_a_layer_that_is_listened_to_is_called():
    network = make_network("float32")
    heard = Classifier(network, feature_layer="first_bn").features(IMAGES)
    theirs = keras.Model(network.inputs, network.get_layer("first_bn").output)(IMAGES)
    np.testing.assert_allclose(heard, tf.reshape(theirs, [2, -1]), rtol=1e-5)
