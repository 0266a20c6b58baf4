"""Mixing of the batches of a data set."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from batches_to_mix import make_batch, make_network, mixed

from tfpoison.defenses import mixing
from tfpoison.defenses.mixing import MaxUp, Mixup
from tfpoison.randomness import Purpose


@pytest.mark.parametrize("name", ["mixup", "cutmix", "cutout"])
def test_on_batches(name):
    images, labels = make_batch(10)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    ours = mixing.on_batches(dataset, name, seed=5)
    assert ours.element_spec == dataset.element_spec
    first = list(ours.as_numpy_iterator())
    assert [len(each) for each, _ in first] == [4, 4, 2]
    for number, (batch, result) in enumerate(zip(dataset, first, strict=True)):
        expected = mixed(mixing.get(name), *batch, Purpose.MIXING_OF_A_DATA_SET.key(5, number))
        for one, other in zip(result, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    for one, other in zip(first, ours.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    again = list(mixing.on_batches(dataset.repeat(2), name, seed=5).as_numpy_iterator())
    np.testing.assert_array_equal(again[0][0], first[0][0])
    assert np.abs(again[3][0] - first[0][0]).max() > 0.1
    other_seed = next(iter(mixing.on_batches(dataset, name, seed=6)))
    assert np.abs(other_seed[0] - first[0][0]).max() > 0.1


def test_training_on_mixed_batches():
    """Keras compiles the step and trains on what comes out; a pipeline takes a mixing too."""
    images, labels = make_batch(8)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    network = make_network()
    network.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = network.get_weights()[0]
    history = network.fit(mixing.on_batches(dataset, Mixup(ways=4)), verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert np.abs(network.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize(
    ("method", "seed", "error", "match"),
    [
        ("maxup", 0, ValueError, r"RobustModel\(network, attack=None, mixing="),
        (MaxUp(), 0, ValueError, "depends on the network"),
        (None, 0, TypeError, "Received: None"),
        ("mixup", -1, ValueError, "seed"),
        ("mixup", 0.5, TypeError, "seed"),
        ("mixpu", 0, ValueError, "Did you mean 'mixup'"),
    ],
)
def test_on_batches_refuses(method, seed, error, match):
    dataset = tf.data.Dataset.from_tensors(make_batch(4))
    with pytest.raises(error, match=match):
        mixing.on_batches(dataset, method, seed)


def test_on_batches_refuses_other_data():
    images, labels = make_batch(4)
    with pytest.raises(ValueError, match="batches of \\(images, labels\\)"):
        mixing.on_batches(tf.data.Dataset.from_tensors(images), "cutout")
    with pytest.raises(ValueError, match="batches of \\(images, labels\\)"):
        mixing.on_batches(tf.data.Dataset.from_tensors((images, labels, labels)), "cutout")
    with pytest.raises(ValueError, match="floating-point images"):
        mixing.on_batches(tf.data.Dataset.from_tensor_slices((images, labels)), "cutout")
