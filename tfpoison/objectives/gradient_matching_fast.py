"""Gradient matching without second-order gradients."""

import dataclasses
from typing import ClassVar, NamedTuple

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier, differentiate
from tfpoison.objectives.gradient_matching import GradientMatching
from tfpoison.objectives.objective import finite, norm
from tfpoison.settings import setting


class TargetDirection(NamedTuple):
    """The target's gradient, and the weights one short step down it."""

    target_gradient: list[tf.Tensor]
    shifted_weights: list[tf.Tensor]
    step: tf.Tensor


@dataclasses.dataclass(frozen=True)
class GradientMatchingFast(GradientMatching):
    """Gradient matching whose gradient by the images is a difference of first-order gradients.

    To align the poisons' gradient g(δ) = ∇θ L(x + δ, y) with the target's, v = ∇θ L(t, f), is to
    minimise -⟨g(δ), v⟩, of which the gradient by δ is the derivative of ∇δ L along -v:

        -∇δ ⟨g(δ), v⟩ ≈ (∇δ L(x + δ, y; θ - h v) - ∇δ L(x + δ, y; θ)) / h

    Neither the second-order graph nor the poisons' gradient by the weights is needed. The value is
    that of `GradientMatching`. It goes with perturbations that leave the targets as they are: by
    the targets' pixels there is no such difference.

    A network of ReLUs is piecewise linear: a step much shorter than 0.01 sees none of its kinks, a
    much longer one leaves the neighbourhood.
    """

    needs_still_targets: ClassVar[bool] = True

    relative_step: float = setting(0.01, "‖h v‖ as a share of ‖θ‖.", above=0)

    @property
    def differentiates_twice(self) -> bool:
        """False: the second derivative is a difference of first ones."""
        return False

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> TargetDirection:  # type: ignore[override]
        """Returns the target's gradient and the weights shifted against it."""
        target_gradient = super().prepare(classifier, batch)
        shifted, positions = classifier.weights, classifier.positions(self.weights)
        length = norm([shifted[position] for position in positions])
        step = self.relative_step * tf.math.divide_no_nan(length, norm(target_gradient))
        for position, gradient in zip(positions, target_gradient, strict=True):
            shifted[position] -= step * gradient
        return TargetDirection(target_gradient, shifted, step)

    def value(  # type: ignore[override]
        self, classifier: Classifier, batch: SplitBatch, prepared: TargetDirection
    ) -> tf.Tensor:
        """Returns 1 - cos of the angle between both gradients, from 0 to 2."""
        return super().value(classifier, batch, prepared.target_gradient)

    def poison_gradient(
        self, classifier: Classifier, batch: SplitBatch, prepared: TargetDirection
    ) -> tf.Tensor:
        """Returns the difference of the loss's gradients by the poison images."""
        images = batch.poison_images
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            rise = classifier.mean_loss(images, batch.poison_labels, prepared.shifted_weights)
            rise -= classifier.mean_loss(images, batch.poison_labels)
            rise *= classifier.loss_scale
        copies = classifier.loss_scale * classifier.reduction.replicas
        gradient = differentiate(tape, rise, [images])[0] / copies
        step = tf.cast(prepared.step, gradient.dtype)
        return finite(tf.math.divide_no_nan(gradient, step))
