"""Scenarios: which weights are taken over, and which train."""

import numpy as np
import pytest
from data_sets import make_network

from tfpoison.recipes import scenario


def start(name, pretrained):
    network = make_network(1)
    fresh = network.get_weights()
    scenario.get(name).start(network, pretrained)
    return network, fresh


def test_from_scratch_takes_nothing():
    network, fresh = start("from_scratch", make_network(2))
    for ours, before in zip(network.get_weights(), fresh, strict=True):
        np.testing.assert_array_equal(ours, before)
    assert len(network.trainable_variables) == 6


def test_fine_tuning_takes_all_and_trains_all():
    pretrained = make_network(2)
    network, _ = start("fine_tuning", pretrained)
    for ours, theirs in zip(network.get_weights(), pretrained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(network.trainable_variables) == 6
    assert scenario.get("fine_tuning").rate_factor == 0.001


def test_transfer_takes_the_features_and_trains_the_last_layer():
    pretrained = make_network(2)
    network, fresh = start("transfer", pretrained)
    weights, theirs = network.get_weights(), pretrained.get_weights()
    for number in range(len(weights) - 2):
        np.testing.assert_array_equal(weights[number], theirs[number])
    np.testing.assert_array_equal(weights[-2], fresh[-2])
    assert [each.path for each in network.trainable_variables] == [
        each.path for each in network.layers[-1].variables
    ]


def test_other_classes_leave_the_last_layer_fresh():
    import keras

    base = make_network(2)
    others = keras.Sequential([*base.layers[:-1], keras.layers.Dense(7)])
    others.build(base.input_shape)
    network, fresh = start("fine_tuning", others)
    np.testing.assert_array_equal(network.get_weights()[-2], fresh[-2])
    np.testing.assert_array_equal(network.get_weights()[0], others.get_weights()[0])


def test_refusals():
    with pytest.raises(ValueError, match="pretrained network"):
        start("transfer", None)
    with pytest.raises(ValueError, match="from_scratch"):
        scenario.get("scratch")
    assert scenario.names() == ["from_scratch", "fine_tuning", "transfer"]
