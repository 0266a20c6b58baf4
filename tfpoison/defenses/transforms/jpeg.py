"""JPEG: every training image is compressed."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.defenses.transforms.base import Transform, check_colours
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Jpeg(Transform):
    """Compresses each image as a JPEG file, and reads it again (arXiv 2301.13838).

    The gradient passes straight through, as if nothing were changed, for an adversary who knows of
    it (arXiv 1802.00420, section 4.1). The authors take a quality of 10 against perturbations of
    all images of a data set. Images are grey or RGB, the latter with halved colour resolution.
    """

    quality: int = setting(75, "From 1, the smallest file, to 100.", minimum=1, maximum=100)
    compiles: ClassVar[bool] = False

    def _change(self, shares: tf.Tensor) -> tf.Tensor:
        check_colours(shares)
        return tf.grad_pass_through(self._compress)(shares)

    def _compress(self, shares: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(tf.round(255 * tf.clip_by_value(shares, 0, 1)), tf.uint8)
        channels = shares.shape[-1]

        def write_and_read(image: tf.Tensor) -> tf.Tensor:
            file = tf.io.encode_jpeg(image, "rgb" if channels == 3 else "grayscale", self.quality)
            return tf.io.decode_jpeg(file, channels)

        spec = tf.TensorSpec(pixels.shape[1:], tf.uint8)
        return (
            tf.cast(tf.map_fn(write_and_read, pixels, fn_output_signature=spec), shares.dtype) / 255
        )
