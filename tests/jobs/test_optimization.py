"""Optimizers, schedules and weight decay from settings."""

import keras
import numpy as np
import pytest

from tfpoison.jobs.optimization import (
    OPTIMIZERS,
    add_weight_decay,
    last_learning_rate,
    make_optimizer,
)
from tfpoison.jobs.settings import TrainingSettings


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


def test_decoupled_decay_is_the_optimizers_own():
    settings = TrainingSettings(optimizer="adamw", weight_decay=0.1)
    assert make_optimizer(settings, 1).weight_decay == 0.1
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    add_weight_decay(network, settings)
    assert network.losses == []
