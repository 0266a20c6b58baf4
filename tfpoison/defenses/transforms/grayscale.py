"""Grayscale: every training image loses its colours."""

import dataclasses

import tensorflow as tf

from tfpoison.defenses.transforms.base import Transform, check_colours


@dataclasses.dataclass(frozen=True)
class Grayscale(Transform):
    """Sets all three channels to the luminance, .2989 R + .587 G + .114 B (arXiv 2301.13838).

    Images of one channel are grey already, and stay as they are.
    """

    def _change(self, shares: tf.Tensor) -> tf.Tensor:
        check_colours(shares)
        if shares.shape[-1] == 1:
            return shares
        return tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(shares))
