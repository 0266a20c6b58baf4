"""Gradient matching: poisons whose training gradient points where the target's does."""

import dataclasses

import keras
import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective, inner_product, norm


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class GradientMatching(Objective):
    """Minimises 1 - cos(∇θ L(x + δ, y), ∇θ L(t, f)), over all trainable weights as one vector.

    A training step on the poisons then lowers the loss of the targets t under their fake label f.
    Source: arXiv 2009.02276, equation 3; arXiv 2102.13624, section 3.
    """

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> list[tf.Tensor]:
        """Returns the gradient of the targets' loss by the weights."""
        targets = classifier.with_target_loss()
        return targets.weight_gradients(batch.target_images, batch.fake_labels)

    def value(
        self, classifier: Classifier, batch: SplitBatch, prepared: list[tf.Tensor]
    ) -> tf.Tensor:
        """Returns 1 - cos of the angle between both gradients, from 0 to 2."""
        poison_gradient = classifier.weight_gradients(batch.poison_images, batch.poison_labels)
        return 1 - tf.math.divide_no_nan(
            inner_product(prepared, poison_gradient), norm(prepared) * norm(poison_gradient)
        )
