"""What RobustModel is made from: refused at the door, or taken as it is."""

import json

import keras
import numpy as np
import pytest
from networks_to_defend import (
    assert_same_bits,
    compile_and_fit,
    lagging,
    make_network,
    small_network,
)

import tfpoison


def test_synchronised_statistics_of_the_batch_are_refused(two_cpus):
    with two_cpus.scope(), pytest.raises(ValueError, match="synchronized=True"):
        tfpoison.RobustModel(lagging(synchronized=True), batch_statistics=True)


def test_numbers_of_numpy_are_settings_as_pythons_are():
    settings = {"steps": 2, "epsilon": 0.25, "poison_fraction": 0.5, "seed": 3}
    theirs = {
        name: np.int8(value) if isinstance(value, int) else np.float32(value)
        for name, value in settings.items()
    }
    weights = []
    for each in (settings, theirs):
        network = make_network()
        model = tfpoison.RobustModel(network, **each)
        compile_and_fit(model)
        weights.append(network.get_weights())
        json.dumps(model.get_config())
    assert_same_bits(*weights)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attack", None), ("attack", tfpoison.attacks.get("evasion")), ("poison_fraction", 0.5)),
        *(("target_selection", "half"), ("pixels", (0, 255)), ("mixing", None), ("seed", 1)),
        *(("features", "animal"), ("warmup_epochs", 1), ("reduction", None), ("network", None)),
        *(("batch_statistics", True), ("crafting", False)),
    ],
)
def test_settings_that_are_replaced_would_not_be_followed(name, value):
    model = tfpoison.RobustModel(small_network(), "noise_uniform")
    before = getattr(model, name)
    with pytest.raises(AttributeError, match=name):
        setattr(model, name, value)
    assert getattr(model, name) is before


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class OwnData(keras.Model):
    """As KerasHub's tasks: the data are prepared on the way to the network."""

    def predict(self, x, *args, **kwargs):
        return super().predict(self.preprocessor(x), *args, **kwargs)


def network_with_its_data_path():
    inputs = keras.Input((4, 4, 3))
    network = OwnData(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    network.preprocessor = keras.layers.Rescaling(1 / 255)
    return network


def network_with_another_fit():
    network = small_network()
    object.__setattr__(network, "fit", lambda *args, **kwargs: None)
    return network


def network_around_a_robust_model():
    return keras.Sequential([keras.Input((4, 4, 3)), tfpoison.RobustModel(small_network())])


def remembers_batches():
    recurrent = keras.layers.GRU(3, stateful=True)
    return keras.Sequential([keras.Input(batch_shape=(12, 8, 8)), recurrent])


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3)(flat), keras.layers.Dense(2)(flat)])


@pytest.mark.parametrize(
    ("network", "settings", "error", "message"),
    [
        (OwnStep, {}, ValueError, "leave `train_step` to Keras"),
        (network_with_its_data_path, {}, ValueError, "leave `predict` to Keras.*`preprocessor`"),
        (network_with_another_fit, {}, ValueError, "leave `fit` to Keras"),
        (network_around_a_robust_model, {}, ValueError, "one among its layers"),
        (two_outputs, {}, ValueError, "one output.*Received 2 outputs"),
        (remembers_batches, {}, ValueError, "batches of any size.*stateful=True"),
        (lambda: "resnet", {}, TypeError, "keras.Model"),
        (lambda: tfpoison.RobustModel(make_network()), {}, ValueError, "plain classifier"),
        (make_network, {"attack": "gradient_machting"}, ValueError, "mean 'gradient_matching'"),
        (make_network, {"attack": 3}, TypeError, "name of an attack"),
        (make_network, {"epsilom": 0.1}, ValueError, "mean 'epsilon'"),
        (make_network, {"attack": "patch", "epsilon": 0.1}, ValueError, "setting of the attack"),
        (make_network, {"epsilon": 16}, ValueError, "at most 1"),
        (make_network, {"steps": 1.5}, TypeError, "integer"),
        (
            make_network,
            {"attack": None, "steps": 1},
            ValueError,
            "beside the name of an attack alone",
        ),
        (
            make_network,
            {"attack": tfpoison.attacks.get("patch"), "epsilon": 0.1},
            ValueError,
            "beside the name of an attack alone.*with epsilon",
        ),
        (make_network, {"poison_fraction": 1}, ValueError, "below 1"),
        (make_network, {"poison_fraction": 0}, ValueError, "above 0"),
        (make_network, {"poison_fraction": 0.5, "target_selection": "one"}, ValueError, "share"),
        (make_network, {"target_selection": "two"}, ValueError, "Unknown `target_selection`"),
        (make_network, {"attack": "patch", "target_selection": "shuffled"}, ValueError, "copies"),
        (make_network, {"pixel_range": (1, 0)}, ValueError, "below its high bound"),
        (make_network, {"pixel_range": 255}, TypeError, "low, high"),
        (make_network, {"matching": "local"}, ValueError, "Unknown `matching`"),
        (make_network, {"features": "head"}, ValueError, "attacks on features alone"),
        (
            make_network,
            {"attack": "feature_collision", "features": "heda"},
            ValueError,
            "layer of the network",
        ),
        (make_network, {"warmup_epochs": -1}, ValueError, "at least 0"),
    ],
)
def test_refused_at_the_door(network, settings, error, message):
    with pytest.raises(error, match=message):
        tfpoison.RobustModel(network(), **settings)


def test_a_network_of_another_strategy_is_refused(two_cpus):
    network = make_network()
    with two_cpus.scope(), pytest.raises(ValueError, match="scope of the same strategy"):
        tfpoison.RobustModel(network)
