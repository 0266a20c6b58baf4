"""Evasion: poisons that the network itself gets wrong."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective


@dataclasses.dataclass(frozen=True)
class Evasion(Objective):
    """Minimises -L(x + δ, y): adversarial examples, as in ordinary adversarial training.

    Source: arXiv 1706.06083, equation 2.1.
    """

    needs_targets: ClassVar[bool] = False

    def value(self, classifier: Classifier, batch: SplitBatch, prepared: None) -> tf.Tensor:
        """Returns the negative mean loss of the poisons under their true labels."""
        return -classifier.mean_loss(batch.poison_images, batch.poison_labels)
