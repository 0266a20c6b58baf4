"""Optimizers, schedules and weight decay from settings."""

import keras
import numpy as np
import pytest

from tfpoison.fitting.optimization import (
    OPTIMIZERS,
    add_weight_decay,
    last_learning_rate,
    make_optimizer,
    make_schedule,
)
from tfpoison.fitting.settings import DECOUPLED_DECAY, SCHEDULES, TrainingSettings


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_made(name):
    optimizer = make_optimizer(TrainingSettings(optimizer=name, learning_rate=0.25), 10)
    assert type(optimizer).__name__.lower() == name
    assert float(optimizer.learning_rate) == 0.25


def test_the_papers_optimizer():
    settings = TrainingSettings(
        epochs=40,
        momentum=0.9,
        nesterov=True,
        schedule="steps",
        milestones=(14, 24, 35),
        weight_decay=5e-4,
    )
    optimizer = make_optimizer(settings, batches_per_epoch=10)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    assert optimizer.weight_decay is None  # It is a penalty, not the optimizer's.
    schedule = optimizer._learning_rate
    # The first step of epoch 14 (counted from 0) is step 140.
    steps = {0: 0.1, 139: 0.1, 140: 0.01, 239: 0.01, 240: 1e-3, 349: 1e-3, 350: 1e-4}
    for step, rate in steps.items():
        assert float(schedule(step)) == pytest.approx(rate)


# Eight epochs of ten steps: the rates of the first, the middle and the last step, by hand.
RATES = {
    "constant": (0.2, 0.2, 0.2),
    # ÷10 at epochs 3 and 6.
    "steps": (0.2, 0.02, 0.002),
    # 0.1 · (1 + cos(π · step / 80)): the step after the last one would come to 0.
    "cosine": (0.2, 0.1, 7.7101e-05),
    # 0.2 · 0.2; the top is at 18.4 of 80 steps, and 61.6 later 0.
    "triangle": (0.04, 0.2 * 40 / 61.6, 0.2 / 61.6),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name):
    milestones = (3, 6) if name == "steps" else ()
    settings = TrainingSettings(learning_rate=0.2, epochs=8, schedule=name, milestones=milestones)
    schedule = make_schedule(settings, batches_per_epoch=10)
    rates = [schedule(step) if callable(schedule) else schedule for step in (0, 40, 79)]
    assert [float(each) for each in rates] == pytest.approx(RATES[name], rel=1e-3)
    assert last_learning_rate(settings, 10, 8) == pytest.approx(RATES[name][-1], rel=1e-3)
    optimizer = make_optimizer(settings, batches_per_epoch=10)
    assert float(optimizer.learning_rate) == pytest.approx(RATES[name][0])
    optimizer.iterations.assign(40)
    assert float(optimizer.learning_rate) == pytest.approx(RATES[name][1])


@pytest.mark.parametrize("name", [each for each in SCHEDULES if each != "steps"])
def test_milestones_and_decay_go_with_steps_alone(name):
    for settings, message in (
        ({"milestones": (3,)}, "milestones with schedule='steps'"),
        ({"decay": 0.5}, "decay with schedule='steps' alone"),
    ):
        with pytest.raises(ValueError, match=f"{message}.*schedule='{name}'"):
            make_schedule(TrainingSettings(schedule=name, **settings), 10)


def test_the_rate_that_a_training_has_come_to():
    settings = TrainingSettings(epochs=40, schedule="steps", milestones=(14, 24, 35))
    rates = {10: 0.1, 14: 0.1, 15: 0.01, 24: 0.01, 25: 1e-3, 40: 1e-4}
    for epochs, rate in rates.items():
        assert last_learning_rate(settings, 10, epochs) == pytest.approx(rate)
    assert last_learning_rate(TrainingSettings(learning_rate=0.25), 10, 3) == 0.25


def test_weight_decay_is_added_to_the_gradient():
    """One step of SGD: w - rate · (gradient + decay · w), as in PyTorch."""
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    network.set_weights([np.array([[2.0], [-1.0]])])
    settings = TrainingSettings(learning_rate=0.5, weight_decay=0.1)
    add_weight_decay(network, settings)
    network.compile(make_optimizer(settings, 1), "mse")
    # Prediction 2, target 1: the gradient of the squared error is 2 · (2 - 1) · (1, 0).
    network.train_on_batch(np.array([[1.0, 0.0]]), np.array([[1.0]]))
    expected = [2 - 0.5 * (2 + 0.1 * 2), -1 - 0.5 * (0.1 * -1)]
    np.testing.assert_allclose(network.get_weights()[0][:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.125])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_is_the_optimizers_own_or_a_penalty(name, decay):
    """Never both, and neither where none is asked for, whatever Keras does by itself."""
    settings = TrainingSettings(optimizer=name, weight_decay=decay)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    add_weight_decay(network, settings)
    own = make_optimizer(settings, 1).weight_decay
    assert (own or 0.0) == (decay if name in DECOUPLED_DECAY else 0.0)
    assert bool(network.losses) == (decay > 0 and name not in DECOUPLED_DECAY)


@pytest.mark.parametrize("decay", [0.0, 0.125])
@pytest.mark.parametrize("name", DECOUPLED_DECAY)
def test_decoupled_decay_of_every_weight(name, decay):
    """Without a gradient a step leaves w - rate · decay · w, of matrices and of biases."""
    optimizer = make_optimizer(
        TrainingSettings(optimizer=name, learning_rate=0.5, weight_decay=decay), 1
    )
    weights = [keras.Variable([[2.0, -1.0]]), keras.Variable([4.0])]
    optimizer.apply([np.zeros((1, 2), "float32"), np.zeros(1, "float32")], weights)
    for weight, before in zip(weights, ([[2.0, -1.0]], [4.0]), strict=True):
        np.testing.assert_allclose(weight, (1 - 0.5 * decay) * np.array(before), rtol=1e-6)


def test_optimizers_whose_decay_is_apart_from_the_gradient():
    assert set(DECOUPLED_DECAY) == {"adamw", "lion", "lamb", "muon"}
    assert set(DECOUPLED_DECAY) <= set(OPTIMIZERS)
