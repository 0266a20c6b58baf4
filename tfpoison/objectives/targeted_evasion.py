"""Targeted evasion: poisons that the network calls what they aim at."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class TargetedEvasion(Objective):
    """Minimises L(x + δ, aim), where the aim is a class that x is to be taken for.

    The perturbation says which one. Where none is named it is the poison's own: noise that makes
    the label easy to learn (arXiv 2101.04898, equation 1).
    """

    needs_targets: ClassVar[bool] = False

    def value(self, classifier: Classifier, batch: SplitBatch, prepared: None) -> tf.Tensor:
        """Returns the mean loss of the poisons under what they aim at."""
        aims = batch.poison_labels if batch.aims is None else batch.aims
        return classifier.mean_loss(batch.poison_images, aims)
