"""Bit depth: every training image keeps few levels of brightness."""

import dataclasses

import tensorflow as tf

from tfpoison.defenses.transforms.base import Transform
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class BitDepth(Transform):
    """Rounds pixels to 2^bits levels (arXiv 1704.01155, section 3.1; for training, 2301.13838).

        x̃ ← round((2^bits - 1) x) / (2^bits - 1)                  x in [0, 1]

    The gradient passes straight through, as if nothing were changed.
    """

    bits: int = setting(4, "Bits of each channel.", minimum=1, maximum=8)

    def _change(self, shares: tf.Tensor) -> tf.Tensor:
        most = 2**self.bits - 1
        return tf.grad_pass_through(
            lambda pixels: tf.round(most * tf.clip_by_value(pixels, 0, 1)) / most
        )(shares)
