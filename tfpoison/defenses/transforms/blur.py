"""Blur: every training image loses its fine detail."""

import dataclasses

import tensorflow as tf

from tfpoison.defenses.transforms.base import Transform
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Blur(Transform):
    """Convolves each image with a Gaussian (arXiv 2301.13838, low-pass filters).

        x̃ ← K x Kᵀ,    Kᵢⱼ ∝ exp(-(i - j)² / 2σ²)

    Rows of K sum to 1: where the Gaussian reaches beyond the border, the pixels within it weigh
    more. As images to be classified stay sharp, a large σ costs accuracy.
    """

    sigma: float = setting(0.5, "σ in pixels.", above=0)

    def _change(self, shares: tf.Tensor) -> tf.Tensor:
        rows, columns = (
            self._kernel(side, shares.dtype) for side in tf.unstack(tf.shape(shares)[1:3])
        )
        return tf.einsum("ij,njkc,lk->nilc", rows, shares, columns)

    def _kernel(self, side: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
        positions = tf.cast(tf.range(side), tf.float64)
        distances = (positions[:, tf.newaxis] - positions) / self.sigma
        return tf.cast(tf.nn.softmax(-tf.square(distances) / 2), dtype)
