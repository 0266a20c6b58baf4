"""Convex polytope: poisons whose features enclose the targets'."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class ConvexPolytope(Objective):
    """Minimises the mean over targets of ½ ‖φ(t) - Σᵢ cᵢ φ(xᵢ + δᵢ)‖² / ‖φ(t)‖².

    φ are the penultimate features; for each target, c is the best point of the simplex, found anew
    for the poisons as they are. Source: arXiv 1905.05897, equation 2.
    """

    needs_features: ClassVar[bool] = True

    iterations: int = setting(200, "The most steps that the search of c takes.", minimum=1)

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> tf.Tensor:
        """Returns the features of the targets of all replicas, (targets, features)."""
        return classifier.reduction.gather(classifier.features(batch.target_images))[0]

    def value(self, classifier: Classifier, batch: SplitBatch, prepared: tf.Tensor) -> tf.Tensor:
        """Returns the mean over targets of half the relative squared distance."""
        ours = classifier.features(batch.poison_images)
        poisons, before = classifier.reduction.gather(tf.stop_gradient(ours))
        coefficients = tf.stop_gradient(closest_in_simplex(poisons, prepared, self.iterations))
        our_coefficients = coefficients[:, before : before + tf.shape(ours)[0]]
        (combined,) = classifier.reduction.sum([our_coefficients @ ours])
        distances = tf.reduce_sum((prepared - combined) ** 2, axis=1)
        losses = tf.math.divide_no_nan(distances / 2, tf.reduce_sum(prepared**2, axis=1))
        return tf.math.divide_no_nan(
            tf.reduce_sum(losses), tf.cast(tf.shape(losses)[0], losses.dtype)
        )


# Hundreds of small steps: a caller who runs eagerly would wait for their dispatch.
@tf.function(reduce_retracing=True)
def closest_in_simplex(points: tf.Tensor, goals: tf.Tensor, iterations: int) -> tf.Tensor:
    """Returns the coefficients of the convex combinations of points that come closest to goals.

    It minimises ‖goal - cᵀ points‖² over the simplex by accelerated projected gradient descent with
    restarts (Nesterov 1983; O'Donoghue and Candès 2015), `iterations` steps at most.

    Args:
        points: (points, features).
        goals: (goals, features).

    Returns:
        A tensor of shape (goals, points), each row non-negative and of sum 1.
    """
    gram = points @ tf.transpose(points)
    goal_products = goals @ tf.transpose(points)
    # The largest row sum bounds the largest eigenvalue, the curvature of the problem.
    curvature = tf.reduce_max(tf.reduce_sum(tf.abs(gram), axis=1))
    count = tf.cast(tf.shape(points)[0], points.dtype)
    start = tf.ones_like(goal_products) / count

    def descend(iteration, current, ahead, momentum):
        gradient = ahead @ gram - goal_products
        after = project_to_simplex(ahead - tf.math.divide_no_nan(gradient, curvature))
        # Momentum that points uphill is dropped, for each goal by itself.
        uphill = tf.reduce_sum((ahead - after) * (after - current), axis=1, keepdims=True) > 0
        momentum = tf.where(uphill, tf.ones_like(momentum), momentum)
        faster = (1 + tf.sqrt(1 + 4 * momentum**2)) / 2
        ahead = after + (momentum - 1) / faster * (after - current)
        return iteration + 1, after, ahead, faster

    momentum = tf.ones_like(start[:, :1])
    return tf.while_loop(
        lambda iteration, *_: iteration < iterations,
        descend,
        (0, start, start, momentum),
        maximum_iterations=iterations,
    )[1]


def project_to_simplex(vectors: tf.Tensor) -> tf.Tensor:
    """Returns the closest point of the probability simplex to each row (Held et al. 1974)."""
    sorted_vectors = tf.sort(vectors, axis=1, direction="DESCENDING")
    excess = tf.cumsum(sorted_vectors, axis=1) - 1
    rank = tf.range(1, tf.shape(vectors)[1] + 1)
    ratio = excess / tf.cast(rank, vectors.dtype)
    # The threshold is the ratio at the last rank whose entry stays positive.
    stays = tf.cast(sorted_vectors > ratio, tf.int32)
    last = tf.reduce_sum(stays, axis=1, keepdims=True)
    threshold = tf.reduce_sum(tf.where(rank == last, ratio, 0), axis=1, keepdims=True)
    return tf.maximum(vectors - threshold, 0)
