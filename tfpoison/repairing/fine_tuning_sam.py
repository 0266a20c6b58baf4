"""FT-SAM: fine-tune where the loss is flat, which shrinks the weights that a backdoor needs."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tfpoison.repairing.base import FineTuned
from tfpoison.repairing.subject import Subject
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class FineTuningSAM(FineTuned):
    """Fine-tuning with sharpness-aware steps (Zhu et al. 2023, arXiv 2304.11823).

    for each batch of clean images:
        g ← ∇θ L(θ);    ε ← radius · θ² g / ‖θ g‖      (elementwise: as far as a weight is large)
        θ ← SGD with ∇θ L(θ + ε)

    Here BatchNormalization keeps its moving statistics, labels are not smoothed, images are not
    augmented, weights do not decay, and the learning rate falls linearly, where the authors
    train as networks are trained.
    """

    radius: float = setting(2.0, "ρ, how far a sharpness-aware step looks.", minimum=0)
    epochs: int = setting(50, "Passes over the clean images.", minimum=1)

    def repair(self, subject: Subject) -> None:
        """Fine-tunes the network."""
        classifier = subject.classifier

        def gradients(images: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
            weights = classifier.weights
            here = classifier.weight_gradients(images, labels)
            there = sharpest(weights, here, self.radius)
            return classifier.weight_gradients(images, labels, there)

        self.fine_tune(subject, gradients=gradients)


def sharpest(
    weights: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], radius: float
) -> list[tf.Tensor]:
    """Returns the weights θ + ε where the linearised loss is largest under ‖ε / θ‖ ≤ radius."""
    scaled = [weight * gradient for weight, gradient in zip(weights, gradients, strict=True)]
    factor = tf.math.divide_no_nan(tf.cast(radius, weights[0].dtype), tf.linalg.global_norm(scaled))
    return [
        weight + factor * tf.abs(weight) * tf.abs(weight) * gradient
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
