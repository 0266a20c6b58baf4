"""The range that pixels live in, in which ε and step sizes are shares."""

from typing import Any

import numpy as np
import tensorflow as tf


class PixelRange:
    """The least and the greatest value of a pixel, for all channels or for each.

    Args:
        bounds: (low, high): two numbers, or two sequences with a number for each channel. Pixels
            normalised by a mean and a deviation live in ((0 - mean) / std, (1 - mean) / std).

    Raises:
        TypeError: the bounds are not two numbers or two sequences of numbers.
        ValueError: a low bound is not below the high one, or a bound is not finite.
    """

    def __init__(self, bounds: Any = (0.0, 1.0)):
        try:
            low, high = (np.asarray(bound, np.float64) for bound in bounds)
        except (TypeError, ValueError) as error:
            raise TypeError(
                "Expected `pixel_range` to be (low, high), two numbers or two sequences with a "
                f"number for each channel. Received: pixel_range={bounds!r}"
            ) from error
        if max(low.ndim, high.ndim) > 1 or (low.ndim and high.ndim and low.size != high.size):
            raise ValueError(
                "Expected `pixel_range` to hold a low and a high bound for all channels or one for "
                f"each. Received: pixel_range={bounds!r}"
            )
        if not (np.isfinite([*low.flat, *high.flat]).all() and (low < high).all()):
            raise ValueError(
                "Expected each low bound of `pixel_range` to be finite and below its high bound. "
                f"Received: pixel_range={bounds!r}"
            )
        self.low, self.high = low, high

    @property
    def channels(self) -> int | None:
        """The number of channels that the bounds are given for; None for one bound for all."""
        return max(self.low.size, self.high.size) if self.low.ndim or self.high.ndim else None

    def check_channels(self, channels: int | None) -> None:
        """Raises ValueError where the bounds are given for another number of channels."""
        if self.channels not in (None, 1, channels):
            raise ValueError(
                f"Expected `pixel_range` to give one bound or a bound for each of the {channels} "
                f"channels of the images. Received bounds for {self.channels} channels."
            )

    def get_config(self) -> tuple[Any, Any]:
        """Returns (low, high) as plain numbers and lists."""
        return self.low.tolist(), self.high.tolist()

    def span(self, dtype: tf.DType) -> tf.Tensor:
        """Returns high - low: what an ε of 1 amounts to; shape () or (channels,)."""
        return tf.constant(self.high - self.low, dtype)

    def to_shares(self, images: tf.Tensor) -> tf.Tensor:
        """Returns pixels as shares of the range: 0 at its low end, 1 at its high end."""
        return (images - tf.constant(self.low, images.dtype)) / self.span(images.dtype)

    def from_shares(self, shares: tf.Tensor) -> tf.Tensor:
        """Returns the pixels that are these shares of the range."""
        return shares * self.span(shares.dtype) + tf.constant(self.low, shares.dtype)

    def room(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns how far each pixel may sink, ≤ 0, and rise, ≥ 0, in shares of the range.

        A pixel that lies outside the range already (an interpolating augmentation overshoots) may
        not go further out, nor is it forced back, so that ε holds for it as well.
        """
        shares = self.to_shares(images)
        return tf.minimum(-shares, 0), tf.maximum(1 - shares, 0)

    def clip(self, images: tf.Tensor, originals: tf.Tensor) -> tf.Tensor:
        """Clips images to the range, widened to where the originals lie outside it."""
        low, high = tf.constant(self.low, images.dtype), tf.constant(self.high, images.dtype)
        return tf.clip_by_value(images, tf.minimum(low, originals), tf.maximum(high, originals))


def to_unit_range(images: tf.Tensor | np.ndarray) -> tf.Tensor:
    """Returns 8-bit images as float32 in [0, 1]."""
    return tf.cast(images, tf.float32) / 255


def to_8_bit(images: tf.Tensor) -> np.ndarray:
    """Returns images in [0, 1] as uint8 in 0–255."""
    return np.rint(255 * tf.clip_by_value(images, 0.0, 1.0).numpy()).astype(np.uint8)
