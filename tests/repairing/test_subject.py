"""What is refused at the door, with a sentence."""

import keras
import numpy as np
import planted
import pytest

import tfpoison
from tfpoison.repairing.subject import Subject, batches

IMAGES, LABELS = planted.images(20)


def repair(*, network=None, images=IMAGES, labels=LABELS, **settings):
    return tfpoison.repair(network or planted.network(), images, labels, **settings)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labels": LABELS + 1}, "labels from 0 to 4"),
        ({"labels": LABELS[:9]}, "a label for each of 20 images"),
        ({"images": IMAGES[:9], "labels": LABELS[:9]}, "at least 10 clean images"),
        ({"images": IMAGES[..., 0]}, "at least 10 clean images"),
        ({"images": 255 * IMAGES}, "Say with `pixel_range`"),
        ({"images": IMAGES.astype(int)}, "uint8 or in floats"),
        ({"images": IMAGES[:, :4]}, "the shape that the network takes"),
        ({"pixel_range": ([0, 0], [1, 1])}, "Received bounds for 2 channels"),
        ({"method": "unlearnin"}, "Did you mean 'unlearning'"),
        ({"method": "anp", "threshold": 2}, "`threshold`"),
    ],
)
def test_refused(given, told):
    with pytest.raises(ValueError, match=told):
        repair(**given)


def test_networks_that_cannot_be_repaired():
    inputs = keras.Input(IMAGES.shape[1:])
    flat = keras.layers.Flatten()(inputs)
    single = keras.Model(inputs, keras.layers.Dense(1)(flat))
    with pytest.raises(ValueError, match="an output for each class"):
        repair(network=single)
    linear = keras.Model(inputs, keras.layers.Dense(5)(flat))
    with pytest.raises(ValueError, match="neurons to prune"):
        repair(network=linear, method="anp")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3)(inputs))
    with pytest.raises(ValueError, match="ends with a Dense layer"):
        repair(network=keras.Model(inputs, pooled), method="fine_pruning")

    class Own(keras.Model):
        def call(self, x):
            return linear(x)

    with pytest.raises(ValueError, match="which Keras can copy"):
        repair(network=Own())
    with pytest.raises(TypeError, match=r"keras\.Model"):
        repair(network="network.keras")


def test_pixels_are_as_the_network_takes_them():
    network = planted.network(scale=255.0)
    levels = np.round(255 * IMAGES).astype(np.uint8)
    subject = Subject.of(network, levels, LABELS, (0, 255))
    np.testing.assert_allclose(subject.images, levels, atol=1e-4)
    assert subject.accuracy() == 1
    changed = subject.perturbed(subject.images, np.float32(-0.5))
    np.testing.assert_allclose(changed, np.maximum(levels - 127.5, 0), atol=1e-3)
    assert Subject.of(tfpoison.RobustModel(network), levels, None, (0, 255)).network is network


def test_answers_are_probabilities_of_either_head():
    plain = Subject.of(planted.network(), IMAGES)
    softmax = Subject.of(planted.network(activation="softmax"), IMAGES)
    assert (plain.answers_probabilities, softmax.answers_probabilities) == (False, True)
    np.testing.assert_allclose(plain.answers, softmax.answers, atol=1e-6)


def test_batches_have_one_size():
    found = list(batches(10, 4, 3, np.random.default_rng(0)))
    assert [len(each) for each in found] == [4] * 6
    assert len({*found[0], *found[1]}) == 8
    assert [len(each) for each in batches(3, 4, 2, np.random.default_rng(0))] == [3, 3]
