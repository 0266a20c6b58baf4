"""Differentiable shifts and flips, for training data and for the poisons while they are crafted."""

import abc
import dataclasses
import functools
from collections.abc import Sequence

import tensorflow as tf

from tfpoison.keras_settings import check_channels_last
from tfpoison.settings import Settings, setting

INTERPOLATIONS = ("bilinear", "nearest")
BORDERS = ("fill", "reflect")


class Augmentation(abc.ABC):
    """A random change of each image of a batch: a draw, and its application.

    They are apart so that a batch's draws can be shared out among workers, or applied again.
    """

    def __call__(self, images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Returns augmented floating-point images of any range, (n, H, W, C).

        Args:
            key: a key of `randomness`, integers (2,): same key, same draws. (Code that is compiled
                by XLA draws other numbers than code that is not.)

        Raises:
            ValueError: Keras is set to images with their channels first.
        """
        check_channels_last()
        return self.apply(images, self.draw(key, tf.shape(images)[0]))

    @abc.abstractmethod
    def draw(self, key: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
        """Draws for `count` images: (count, ...)."""

    @abc.abstractmethod
    def apply(self, images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Returns images changed by the draws, of the same shape and dtype."""


@dataclasses.dataclass(frozen=True)
class ShiftAndFlip(Settings, Augmentation):
    """Shifts images by up to some pixels in each direction, and mirrors half of them.

    As in the authors' code, a shift is drawn uniformly from all real numbers up to `shift`, and
    pixels between the grid's are interpolated bilinearly (their `RandomTransform` with `shift=8`
    moves by up to 4 pixels). Each image is multiplied from both sides by small matrices,

        output = R_y · image · R_xᵀ,    R[i, j] = max(0, 1 - |source(i) - j|),

    which are exact for whole pixels (on GPUs that multiply float32 in TF32, to three digits), and
    whose gradients are products of matrices again: quick, and the same bits on every run.

    Args:
        fill: the colour outside the image, one number or one per channel. The authors fill
            with 0 *after* normalisation, which is the mean of the data; 0, black, is usual.
    """

    shift: float = setting(4, "The largest shift, in pixels.", minimum=0)
    flip: bool = setting(True, "Mirror half of the images left to right.")
    interpolation: str = setting(
        "bilinear", "nearest is for shifts by whole pixels.", choices=INTERPOLATIONS
    )
    border: str = setting(
        "fill", "What lies outside an image: one colour, or its mirror image.", choices=BORDERS
    )
    fill: float | Sequence[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interpolation == "nearest" and self.shift != int(self.shift):
            raise ValueError(
                "Expected `shift` to be a whole number of pixels where "
                f"interpolation='nearest'. Received: shift={self.shift!r}"
            )

    def draw(self, key: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
        """Draws (shift down, shift right, 1 if mirrored else 0) of each image: float32, (n, 3)."""
        share = tf.random.stateless_uniform([count, 3], key)
        shifts = (2 * share[:, :2] - 1) * self.shift
        if self.interpolation == "nearest":
            # Every whole number from -shift to shift with the same probability.
            shifts = tf.floor(share[:, :2] * (2 * self.shift + 1)) - self.shift
        flips = tf.cast(share[:, 2:] < 0.5, tf.float32) * float(self.flip)
        return tf.concat([shifts, flips], axis=1)

    def apply(self, images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        """Moves and mirrors the images."""
        down, right, mirrored = tf.unstack(draws, axis=1)
        height, width = images.shape[1:3]
        reflect = self.border == "reflect"
        rows = _resampling(height, down, tf.zeros_like(down), images.dtype, reflect=reflect)
        columns = _resampling(width, right, mirrored, images.dtype, reflect=reflect)
        fill = tf.constant(self.fill, images.dtype)
        moved = _resample_rows(images - fill, rows)
        moved = _transpose(_resample_rows(_transpose(moved), columns))
        return moved + fill


def _resample_rows(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Multiplies each image from the left by its matrix, all columns and channels at once."""
    _, height, width, channels = images.shape
    lines = tf.reshape(images, [-1, height, width * channels])
    return tf.reshape(tf.matmul(matrices, lines), [-1, height, width, channels])


def _transpose(images: tf.Tensor) -> tf.Tensor:
    return tf.transpose(images, [0, 2, 1, 3])


def _resampling(
    size: int, shifts: tf.Tensor, mirrored: tf.Tensor, dtype: tf.DType, *, reflect: bool
) -> tf.Tensor:
    """Returns the matrices that move (and mirror) lines of pixels, (n, size, size).

    Pixel i comes from i - shift, or from its mirror image; outside the line rows are zeros, or the
    line goes on backwards, without its last pixel twice.
    """
    positions = tf.range(size, dtype=tf.float32)
    sources = positions - shifts[:, tf.newaxis]
    if reflect:
        last = size - 1
        sources = last - tf.abs(last - tf.math.floormod(sources, max(2 * last, 1)))
    sources = tf.where(mirrored[:, tf.newaxis] > 0, size - 1 - sources, sources)
    return tf.cast(tf.nn.relu(1 - tf.abs(sources[:, :, tf.newaxis] - positions)), dtype)


shift = functools.partial(ShiftAndFlip, flip=False)
flip = functools.partial(ShiftAndFlip, shift=0)


def none() -> None:
    """Leaves images as they are."""
