"""MetaPoison: poisons that lower the target's loss after a few training steps on them."""

import dataclasses
from typing import Self

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class MetaPoison(Objective):
    """Minimises L(t, f; θ_k): θ after k steps of SGD on (x + δ, y), differentiated through them.

        θ_0 = θ,   θ_{i+1} = θ_i - rate · ∇θ L(x + δ, y; θ_i)

    Source: arXiv 2004.00225, algorithm 1; arXiv 2102.13624, section 3 (k = 2, rate 0.1).
    """

    unrolled_steps: int = setting(2, "k, the number of unrolled steps.", minimum=1)
    learning_rate: float = setting(0.1, "The rate of the unrolled steps.", above=0)

    @property
    def differentiates_twice(self) -> bool:
        """True: the steps are unrolled."""
        return True

    def at_rate(self, learning_rate: float) -> Self:
        """Returns the objective with unrolled steps of that learning rate."""
        return dataclasses.replace(self, learning_rate=learning_rate)

    def value(self, classifier: Classifier, batch: SplitBatch, prepared: None) -> tf.Tensor:
        """Returns the targets' loss under their fake labels after the unrolled steps."""
        weights = classifier.weights
        for _ in range(self.unrolled_steps):
            gradients = classifier.weight_gradients(
                batch.poison_images, batch.poison_labels, weights
            )
            weights = [
                weight - self.learning_rate * gradient
                for weight, gradient in zip(weights, gradients, strict=True)
            ]
        targets = classifier.with_target_loss()
        return targets.mean_loss(batch.target_images, batch.fake_labels, weights)
