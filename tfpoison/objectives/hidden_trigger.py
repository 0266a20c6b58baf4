"""Hidden trigger: poisons that look clean and have the features of images that carry a trigger."""

import dataclasses
from typing import ClassVar, NamedTuple

import keras
import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective


class Pairs(NamedTuple):
    """Poisons of this replica and the features of the targets that they are drawn to."""

    poisons: tf.Tensor
    target_features: tf.Tensor
    ours: tf.Tensor


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class HiddenTrigger(Objective):
    """Minimises Σ over pairs (x, t) of the mean over features of (φ(x + δ) - φ(t))².

    φ are the penultimate features, the targets t carry a trigger. The pairs are the closest ones
    in feature space before the poisons are perturbed, as many as there are targets or poisons,
    whichever is more. Source: arXiv 1910.00033, algorithm 1; arXiv 2102.13624.
    """

    needs_features: ClassVar[bool] = True

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> Pairs:
        """Returns the closest pairs of poisons and targets, over all replicas."""
        reduction = classifier.reduction
        targets, _ = reduction.gather(classifier.features(batch.target_images))
        poisons, before = reduction.gather(classifier.features(batch.poison_images))
        poison, target = closest_pairs(poisons, targets)
        our_count = tf.shape(batch.poison_images)[0]
        ours = (poison >= before) & (poison < before + our_count)
        return Pairs(
            poisons=tf.where(ours, poison - before, 0),
            target_features=tf.gather(targets, target),
            ours=ours,
        )

    def value(self, classifier: Classifier, batch: SplitBatch, prepared: Pairs) -> tf.Tensor:
        """Returns the sum over pairs of their mean squared distance."""
        features = tf.gather(classifier.features(batch.poison_images), prepared.poisons)
        distances = tf.reduce_mean((features - prepared.target_features) ** 2, axis=1)
        distances = tf.where(prepared.ours, distances, tf.zeros_like(distances))
        return classifier.reduction.sum([tf.reduce_sum(distances)])[0]


def closest_pairs(poisons: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pairs of smallest Euclidean distance, as many as the longer list has rows.

    Args:
        poisons: (poisons, features).
        targets: (targets, features).

    Returns:
        The pairs' row numbers in `poisons` and in `targets`, each int32 of shape (pairs,).
    """
    squares = tf.reduce_sum(poisons**2, axis=1)[:, tf.newaxis] + tf.reduce_sum(targets**2, axis=1)
    distances = squares - 2 * tf.matmul(poisons, targets, transpose_b=True)
    counts = tf.shape(distances)
    # No pair is left where one side is empty; top_k would refuse to look for one.
    pairs = tf.minimum(tf.reduce_max(counts), tf.reduce_prod(counts))
    _, places = tf.math.top_k(-tf.reshape(distances, [-1]), k=pairs)
    columns = tf.maximum(counts[1], 1)
    return places // columns, places % columns
