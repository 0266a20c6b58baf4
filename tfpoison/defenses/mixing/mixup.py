"""Mixup: every image of a batch is mixed with others of it."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.draws import combine, dirichlet
from tfpoison.randomness import permutation, split_key
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Mixup(Mixing):
    """Mixes each image, and its label, with others of the batch (arXiv 1710.09412).

        w ~ Dirichlet(α, …, α)                 one weight for each of the `ways` images; Beta for 2
        x̃ᵢ = w₁ xᵢ + w₂ x_π₂₍ᵢ₎ + …             π₂, π₃, …: random orders of the batch
        ỹᵢ = w₁ yᵢ + w₂ y_π₂₍ᵢ₎ + …

    As in the code that arXiv 2102.13624 compares with, the orders are independent, so that an image
    may meet itself, with probability 1/n. Unlike there, each image has weights of its own. Mixing
    k ways makes the privacy guarantee of added noise k times stronger (arXiv 2103.02079).
    """

    alpha: float = setting(
        1.0, "α: the smaller, the nearer are mixtures to one of their images.", above=0
    )
    ways: int = setting(2, "How many images are mixed into one.", minimum=2, maximum=1000)
    needs_one_hot: ClassVar[bool] = True

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        count = tf.shape(images)[0]
        keys = split_key(key)
        weights = dirichlet(next(keys), self.alpha, count, self.ways)
        orders = [tf.range(count), *(permutation(next(keys), count) for _ in range(self.ways - 1))]
        return combine(images, weights, orders), combine(labels, weights, orders)
