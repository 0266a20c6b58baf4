"""Hidden trigger: poisons that look clean and have the features of images that carry a trigger."""

import dataclasses
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective
from tfpoison.settings import setting


class Pairs(NamedTuple):
    """Poisons of this replica and the features of the targets that they are drawn to."""

    poisons: tf.Tensor
    target_features: tf.Tensor
    ours: tf.Tensor


@dataclasses.dataclass(frozen=True)
class HiddenTrigger(Objective):
    """Minimises Σ over pairs (x, t) of the mean over features of (φ(x + δ) - φ(t))².

    φ are the penultimate features, the targets t carry a trigger. Pairs are made greedily, the
    closest in feature space first, before the poisons are perturbed. Source: arXiv 1910.00033,
    algorithm 1, where every poison has one target of its own (targets are shared where there are
    fewer of them). By default the pairs are the closest of all, as many as there are targets or
    poisons, whichever is more, as in the code of arXiv 2102.13624: poisons that are close to no
    target keep their random start.
    """

    one_to_one: bool = setting(False, "Every poison has one target of its own.")

    needs_features: ClassVar[bool] = True

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> Pairs:
        """Returns the closest pairs of poisons and targets, over all replicas."""
        reduction = classifier.reduction
        targets, _ = reduction.gather(classifier.features(batch.target_images))
        poisons, before = reduction.gather(classifier.features(batch.poison_images))
        pair = one_to_one_pairs if self.one_to_one else closest_pairs
        poison, target = pair(poisons, targets)
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
    distances = _squared_distances(poisons, targets)
    counts = tf.shape(distances)
    # No pair is left where one side is empty; top_k would refuse to look for one.
    pairs = tf.minimum(tf.reduce_max(counts), tf.reduce_prod(counts))
    _, places = tf.math.top_k(-tf.reshape(distances, [-1]), k=pairs)
    columns = tf.maximum(counts[1], 1)
    return places // columns, places % columns


def one_to_one_pairs(poisons: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns a target for each poison: the closest pair first, then the closest of what is left.

    Targets are taken again once all are taken. The arguments are those of `closest_pairs`, and so
    are the pairs, (poisons,) or none where one side is empty.
    """
    distances = _squared_distances(poisons, targets)
    poison_count, target_count = tf.unstack(tf.shape(distances))
    rounds = tf.where(target_count > 0, poison_count, 0)
    far = tf.constant(float("inf"), distances.dtype)

    def pair(number, free_poisons, free_targets, places):
        free = free_poisons[:, tf.newaxis] & free_targets
        place = tf.argmin(tf.reshape(tf.where(free, distances, far), [-1]), output_type=tf.int32)
        row, column = place // target_count, place % target_count
        free_poisons &= tf.range(poison_count) != row
        free_targets &= tf.range(target_count) != column
        free_targets |= ~tf.reduce_any(free_targets)
        # Masks of one element lose their known shape.
        free_poisons.set_shape(poisons.shape[:1])
        free_targets.set_shape(targets.shape[:1])
        return number + 1, free_poisons, free_targets, places.write(number, place)

    start = (
        tf.constant(0),
        tf.ones([poison_count], tf.bool),
        tf.ones([target_count], tf.bool),
        tf.TensorArray(tf.int32, size=rounds, element_shape=[]),
    )
    places = tf.while_loop(lambda number, *_: number < rounds, pair, start)[-1].stack()
    columns = tf.maximum(target_count, 1)
    return places // columns, places % columns


def _squared_distances(poisons: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns the squared Euclidean distances of all rows, (poisons, targets)."""
    squares = tf.reduce_sum(poisons**2, axis=1)[:, tf.newaxis] + tf.reduce_sum(targets**2, axis=1)
    return squares - 2 * tf.matmul(poisons, targets, transpose_b=True)
