"""CutMix: a box of one image of a batch is pasted into another."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.draws import boxes, combine, dirichlet
from tfpoison.randomness import permutation, split_key
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class CutMix(Mixing):
    """Pastes a box of another image of the batch into an image (arXiv 1905.04899).

        λ ~ Beta(α, α)
        box: sides √(1 - λ) · H and √(1 - λ) · W, around a random pixel, cut off at the border
        x̃ᵢ = x_π₍ᵢ₎ inside the box, xᵢ outside;    ỹᵢ = (1 - s) yᵢ + s y_π₍ᵢ₎

    with s the share of pixels in the box and π a random order of the batch. As in the authors' code
    for CIFAR, and in the one that arXiv 2102.13624 compares with, half of the images are left as
    they are; there it is half of the batches. For ImageNet the authors change all of them.
    """

    alpha: float = setting(1.0, "α of the boxes' sizes; 1 for uniform ones.", above=0)
    probability: float = setting(0.5, "The share of images that are changed.", above=0, maximum=1)
    needs_one_hot: ClassVar[bool] = True

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        count, *sides = tf.unstack(tf.shape(images)[:3])
        keys = split_key(key)
        shares = tf.sqrt(dirichlet(next(keys), self.alpha, count, 2)[:, 1])
        height, width = (tf.cast(shares * tf.cast(side, shares.dtype), tf.int32) for side in sides)
        inside = boxes(next(keys), images, height, width)
        chosen = tf.random.stateless_uniform([count], next(keys)) < self.probability
        inside &= chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
        order = permutation(next(keys), count)
        pasted = tf.reduce_mean(tf.cast(inside, tf.float32), axis=[1, 2, 3])
        weights = tf.stack([1 - pasted, pasted], axis=1)
        return (
            tf.where(inside, tf.gather(images, order), images),
            combine(labels, weights, [tf.range(count), order]),
        )
