"""Gradient matching: poisons whose training gradient points where the target's does."""

import dataclasses

import keras
import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.features import variables_of
from tfpoison.objectives.objective import Objective, inner_product, norm
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class GradientMatching(Objective):
    """Minimises 1 - cos(∇θ L(x + δ, y), ∇θ L(t, f)), over trainable weights θ as one vector.

    A training step on the poisons then lowers the loss of the targets t under their fake label f.
    With the last layer's weights alone, no second derivative goes through the others.
    Source: arXiv 2009.02276, equation 3; arXiv 2102.13624, section 3.
    """

    weights: str = setting(
        "all", "θ: all, those of the last layer (last), or of a layer of that name onward."
    )

    @property
    def differentiates_twice(self) -> bool:
        """Whether a second derivative goes through layers before the last one."""
        return self.weights != "last"

    def check_network(self, network: keras.Model) -> None:
        """Raises ValueError where a network has no such layers."""
        variables_of(network, self.weights)

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> list[tf.Tensor]:
        """Returns the gradient of the targets' loss by the weights."""
        targets = classifier.with_target_loss()
        return targets.weight_gradients(batch.target_images, batch.fake_labels, layers=self.weights)

    def poisons_weight_gradient(self, classifier: Classifier, batch: SplitBatch) -> list[tf.Tensor]:
        """Returns the gradient of the poisons' loss by the weights."""
        return classifier.weight_gradients(
            batch.poison_images, batch.poison_labels, layers=self.weights
        )

    def value(
        self, classifier: Classifier, batch: SplitBatch, prepared: list[tf.Tensor]
    ) -> tf.Tensor:
        """Returns 1 - cos of the angle between both gradients, from 0 to 2."""
        poison_gradient = self.poisons_weight_gradient(classifier, batch)
        return 1 - tf.math.divide_no_nan(
            inner_product(prepared, poison_gradient), norm(prepared) * norm(poison_gradient)
        )
