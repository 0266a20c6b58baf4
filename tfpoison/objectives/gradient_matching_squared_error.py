"""Gradient matching by squared error: poisons whose training gradient equals the target's."""

import dataclasses

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.gradient_matching import GradientMatching
from tfpoison.objectives.objective import inner_product, norm


@dataclasses.dataclass(frozen=True)
class GradientMatchingSquaredError(GradientMatching):
    """Minimises ½ ‖∇θ L(t, f) - ∇θ L(x + δ, y)‖² / ‖∇θ L(t, f)‖.

    Source: arXiv 2102.13624, section 3 ("gradient matching (SE)").
    """

    def value(
        self, classifier: Classifier, batch: SplitBatch, prepared: list[tf.Tensor]
    ) -> tf.Tensor:
        """Returns half the squared distance of both gradients, per length of the target's."""
        poison_gradient = self.poisons_weight_gradient(classifier, batch)
        difference = [
            target - poison for target, poison in zip(prepared, poison_gradient, strict=True)
        ]
        return tf.math.divide_no_nan(
            inner_product(difference, difference) / 2, tf.stop_gradient(norm(prepared))
        )
