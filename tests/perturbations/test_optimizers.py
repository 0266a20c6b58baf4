"""Optimizers of perturbations against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison.perturbations import OPTIMIZERS

START = np.array([1.0, -2.0, 3.0], "float32")
CURVATURE = np.array([1.0, 10.0, 0.1], "float32")


def run(name, step_size, radius, steps=6):
    optimizer = OPTIMIZERS.get(name, radius=radius, step_size=step_size)
    parameters = [tf.constant(START)]
    moments = optimizer.start(parameters)
    for iteration in range(steps):
        gradients = [CURVATURE * parameters[0]]
        parameters, moments = optimizer.step(tf.constant(iteration), parameters, gradients, moments)
    return parameters[0].numpy()


def run_keras(optimizer, *, sign=False, steps=6):
    variable = keras.Variable(START)
    for _ in range(steps):
        gradient = CURVATURE * variable.numpy()
        optimizer.apply([tf.constant(np.sign(gradient) if sign else gradient)], [variable])
    return variable.numpy()


@pytest.mark.parametrize(
    ("name", "ours", "theirs", "sign"),
    [
        ("adam", (0.1, 0.5), lambda: keras.optimizers.Adam(0.1, epsilon=1e-8), False),
        ("sign_adam", (0.1, 0.5), lambda: keras.optimizers.Adam(0.1, epsilon=1e-8), True),
        # The step sizes of these are shares of ε, here 0.5.
        ("pgd", (0.1, 0.5), lambda: keras.optimizers.SGD(0.05), True),
        ("momentum", (0.02, 0.5), lambda: keras.optimizers.SGD(0.01, momentum=0.9), False),
    ],
)
def test_against_keras(name, ours, theirs, sign):
    np.testing.assert_allclose(run(name, *ours), run_keras(theirs(), sign=sign), rtol=1e-4)


def test_every_optimizer_is_compared():
    assert set(OPTIMIZERS) == {"adam", "sign_adam", "pgd", "momentum"}


@pytest.mark.parametrize(
    ("name", "radius", "steps", "expected"),
    [
        # One step goes 1.25 ε, several go 2 ε in all: at ε = 16/255 five go the paper's τ = 0.025.
        ("sign_adam", 0.1, 1, 0.125),
        ("adam", 0.1, 2, 0.1),
        ("sign_adam", 16 / 255, 5, 0.4 * 16 / 255),
        ("pgd", 0.1, 1, 1.25),
        ("pgd", 0.1, 10, 0.2),
        ("momentum", 0.1, 1, 0.5),
        # Brewing takes a great many.
        ("sign_adam", 16 / 255, None, 0.025),
        ("sign_adam", 4 / 255, None, 0.4 * 4 / 255),
        ("pgd", 0.1, None, 0.5),
    ],
)
def test_default_step_sizes(name, radius, steps, expected):
    step_size = OPTIMIZERS.get(name, radius=radius, steps=steps).step_size
    assert step_size == pytest.approx(expected, rel=1e-12)


def test_unknown_names():
    with pytest.raises(ValueError, match="sign_adam"):
        OPTIMIZERS.get("sign_adm", radius=0.1)
