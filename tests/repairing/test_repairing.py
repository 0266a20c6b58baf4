"""Every method takes a planted backdoor out and leaves the accuracy, and nothing else changes."""

import keras
import numpy as np
import planted
import pytest

import tfpoison
from tfpoison.repairing import table
from tfpoison.repairing.base import Repair

IMAGES, LABELS = planted.images(60)
# As much of each as the planted backdoor takes.
SETTINGS = {
    "universal": {"rounds": 4, "epsilon": 0.5, "learning_rate": 0.05},
    "fine_tuning_sam": {"epochs": 10, "batch_size": 20},
    "anp": {"steps": 40, "batch_size": 30},
    "unlearning": {"epochs": 10, "batch_size": 20, "steps": 120},
    "fine_pruning": {"epochs": 1},
}


@pytest.mark.parametrize("name", table.names())
def test_every_method_removes_a_planted_backdoor(name):
    network = planted.network()
    before = network.get_weights()
    assert planted.measures(network) == (1, 1)
    repaired = tfpoison.repair(network, IMAGES, LABELS, name, **SETTINGS[name])
    accuracy, success = planted.measures(repaired)
    assert accuracy >= 0.98
    # What no clean image wakes has no gradient: fine-tuning alone leaves it.
    assert success <= (1 if name == "fine_tuning_sam" else 0.3)
    for ours, theirs in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_probabilities_other_pixels_and_colours():
    network = planted.network(channels=3, activation="softmax", scale=255.0, normalized=True)
    images, labels = planted.images(60, channels=3)
    one_hot, given = keras.utils.to_categorical(labels), {"pixel_range": (0, 255)}
    repaired = tfpoison.repair(network, 255 * images, one_hot, "anp", **given, **SETTINGS["anp"])
    accuracy, success = planted.measures(repaired, scale=255.0)
    assert accuracy >= 0.98 and success <= 0.3, (accuracy, success)


def test_same_seed_same_bits():
    network = planted.network()
    first, second, other = (
        tfpoison.repair(network, IMAGES, LABELS, "fine_pruning", epochs=1, batch_size=20, seed=seed)
        for seed in (5, 5, 6)
    )
    for left, right in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert any(
        (a != b).any() for a, b in zip(first.get_weights(), other.get_weights(), strict=True)
    )


def test_a_method_of_ones_own():
    class Nothing(Repair):
        def repair(self, subject):
            subject.network.layers[-1].bias.assign_add([9.0, 0, 0, 0, 0])

    repaired = tfpoison.repair(planted.network(), IMAGES, LABELS, Nothing())
    assert repaired.layers[-1].bias[0] == 9
