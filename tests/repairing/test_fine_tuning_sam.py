"""The sharpness-aware step, on a quadratic."""

import numpy as np
import tensorflow as tf

from tfpoison.repairing.fine_tuning_sam import sharpest


def test_sharpest_on_a_quadratic():
    """L = ½ θᵀ A θ has the gradient A θ; the steepest ε under Σ (ε / θ)² ≤ ρ² is in closed form."""
    generator = np.random.default_rng(0)
    root = generator.normal(size=(4, 4))
    matrix, weights, radius = root @ root.T, generator.normal(size=4), 0.3
    gradient = matrix @ weights
    parts = [slice(0, 1), slice(1, 4)]
    moved = sharpest(
        [tf.constant(weights[each]) for each in parts],
        [tf.constant(gradient[each]) for each in parts],
        radius,
    )
    change = np.concatenate([each.numpy() for each in moved]) - weights
    np.testing.assert_allclose(np.linalg.norm(change / weights), radius)
    # No other change of that length raises the linearised loss more.
    others = generator.normal(size=(2000, 4))
    others *= radius * np.abs(weights) / np.linalg.norm(others, axis=1, keepdims=True)
    assert (others @ gradient).max() <= change @ gradient
    np.testing.assert_allclose(change @ gradient, radius * np.linalg.norm(weights * gradient))


def test_a_flat_loss_moves_nothing():
    weights = [tf.constant([1.0, -2.0])]
    np.testing.assert_array_equal(sharpest(weights, [tf.zeros(2)], 1.0)[0], weights[0])
