"""Mixup: every image of a batch is mixed with others of it."""

import dataclasses
from typing import ClassVar

import keras
import tensorflow as tf

from tfpoison.checks import check_number, make_plain
from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.draws import combine, dirichlet
from tfpoison.randomness import permutation, split_key


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class Mixup(Mixing):
    """Mixes each image, and its label, with others of the batch (arXiv 1710.09412).

        w ~ Dirichlet(α, …, α)                 one weight for each of the `ways` images; Beta for 2
        x̃ᵢ = w₁ xᵢ + w₂ x_π₂₍ᵢ₎ + …             π₂, π₃, …: random orders of the batch
        ỹᵢ = w₁ yᵢ + w₂ y_π₂₍ᵢ₎ + …

    As in the code that arXiv 2102.13624 compares with, the orders are independent, so that an image
    may meet itself, with probability 1/n. Unlike there, each image has weights of its own. Mixing
    k ways makes the privacy guarantee of added noise k times stronger (arXiv 2103.02079).

    Args:
        alpha: α, above 0: the smaller, the nearer are the mixtures to one of their images.
        ways: the number of images that are mixed into one, at least 2.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has a value that cannot be.
    """

    alpha: float = 1.0
    ways: int = 2
    needs_one_hot: ClassVar[bool] = True

    def __post_init__(self) -> None:
        make_plain(self)
        check_number("alpha", self.alpha, minimum=0, exclusive_minimum=True)
        check_number("ways", self.ways, minimum=2, maximum=1000, whole=True)

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        count = tf.shape(images)[0]
        keys = split_key(key)
        weights = dirichlet(next(keys), self.alpha, count, self.ways)
        orders = [tf.range(count), *(permutation(next(keys), count) for _ in range(self.ways - 1))]
        return combine(images, weights, orders), combine(labels, weights, orders)
