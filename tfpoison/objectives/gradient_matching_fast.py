"""Gradient matching without second-order gradients."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier, differentiate
from tfpoison.objectives.gradient_matching import GradientMatching
from tfpoison.objectives.objective import finite, inner_product, norm
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class GradientMatchingFast(GradientMatching):
    """Gradient matching whose gradient by the images is a difference of first-order gradients.

    The cosine of the poisons' gradient g(δ) = ∇θ L(x + δ, y) and the target's, v = ∇θ L(t, f), has
    the derivative u = (v/‖v‖ - cos g/‖g‖) / ‖g‖ by g, so that its gradient by δ is how that of L
    changes along u:

        -∇δ cos = -∇δ ⟨g(δ), u⟩ ≈ (∇δ L(x + δ, y; θ - h u) - ∇δ L(x + δ, y; θ)) / h,  u held

    No second-order graph is needed. A network of ReLUs is piecewise linear: its second derivatives
    know nothing of the kinks nearby, the difference sees those within the step. Brewed with it,
    poisons reach a smaller value than with exact second derivatives, in three quarters of the time.

    It goes with perturbations that leave the targets as they are: by the targets' pixels there is
    no such difference.
    """

    needs_still_targets: ClassVar[bool] = True

    relative_step: float = setting(0.01, "‖h u‖ as a share of ‖θ‖.", above=0)

    @property
    def differentiates_twice(self) -> bool:
        """False: the second derivative is a difference of first ones."""
        return False

    def poison_gradient(
        self, classifier: Classifier, batch: SplitBatch, prepared: list[tf.Tensor]
    ) -> tf.Tensor:
        """Returns the difference of the loss's gradients by the poison images."""
        weights, positions = classifier.weights, classifier.positions(self.weights)
        matched = [weights[position] for position in positions]
        here, *own = _loss_gradients(classifier, batch, weights, matched)
        direction = _derivative_of_cosine(classifier.reduction.sum(own), prepared)
        step = self.relative_step * tf.math.divide_no_nan(norm(matched), norm(direction))
        for position, part in zip(positions, direction, strict=True):
            weights[position] -= step * part
        (there,) = _loss_gradients(classifier, batch, weights, [])
        return finite(tf.math.divide_no_nan(there - here, tf.cast(step, here.dtype)))


def _loss_gradients(
    classifier: Classifier, batch: SplitBatch, weights: list[tf.Tensor], matched: list[tf.Tensor]
) -> list[tf.Tensor]:
    """Returns the gradients of the poisons' loss by their images and by some of the weights.

    Those by the weights are of this replica's images alone, as a part of the sum over replicas.
    """
    sources = [batch.poison_images, *matched]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(sources)
        loss = classifier.mean_loss(batch.poison_images, batch.poison_labels, weights)
        loss *= classifier.loss_scale
    copies = classifier.loss_scale * classifier.reduction.replicas
    return [each / copies for each in differentiate(tape, loss, sources)]


def _derivative_of_cosine(own: list[tf.Tensor], target: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the derivative of the cosine of two gradients by the first one."""
    length = norm(own)
    own, target = _unit(own), _unit(target)
    cosine = inner_product(own, target)
    return [tf.math.divide_no_nan(b - cosine * a, length) for a, b in zip(own, target, strict=True)]


def _unit(vector: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns a list of tensors, taken as one vector, at length 1; 0 where it is 0."""
    length = norm(vector)
    return [tf.math.divide_no_nan(each, length) for each in vector]
