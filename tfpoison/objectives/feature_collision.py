"""Feature collision: poisons that surround the targets in feature space."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class FeatureCollision(Objective):
    """Minimises the mean over features of (mean φ(x + δ) - mean φ(t))², the bullseye form.

    φ are the penultimate features. Source: arXiv 2005.00191, equation 2; arXiv 2102.13624.
    """

    needs_features: ClassVar[bool] = True

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> tf.Tensor:
        """Returns the mean features of the targets, (features,)."""
        return classifier.mean_features(batch.target_images)

    def value(self, classifier: Classifier, batch: SplitBatch, prepared: tf.Tensor) -> tf.Tensor:
        """Returns the mean squared distance between both mean features."""
        return tf.reduce_mean((classifier.mean_features(batch.poison_images) - prepared) ** 2)
