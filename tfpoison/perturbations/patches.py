"""The geometry of patches: rectangles of pixels, drawn at random and pasted on images.

Rectangles of different sizes live on canvases of one size, so that all shapes are static.
"""

import dataclasses

import tensorflow as tf

from tfpoison.keras_settings import check_channels_last
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key, uniform_integers


@dataclasses.dataclass(frozen=True)
class Rectangles:
    """The sides of patches in pixels.

    Attributes:
        heights: int32 (patches,).
        widths: int32 (patches,).
        canvas: the greatest height and width that may be drawn.
    """

    heights: tf.Tensor
    widths: tf.Tensor
    canvas: tuple[int, int]


def image_sides(images: tf.Tensor) -> tuple[int, int]:
    """Returns the height and width of images, (n, height, width, channels).

    Raises:
        ValueError: the images have other axes, or sides that are not known beforehand; or Keras is
            set to images with their channels first.
    """
    check_channels_last()
    shape = images.shape
    if shape.rank != 4 or None in shape[1:]:
        raise ValueError(
            "Expected images of shape (n, height, width, channels) with known sides, for "
            f"patches and flows. Received images of shape {tuple(shape)}. Resize them to one size."
        )
    return shape[1], shape[2]


def draw_rectangles(
    key: tf.Tensor,
    count: tf.Tensor | int,
    heights: tuple[int, int],
    widths: tuple[int, int],
) -> Rectangles:
    """Draws the sides of patches, uniformly from the least to the greatest, both included."""
    keys = split_key(key)
    return Rectangles(
        heights=uniform_integers(next(keys), *heights, [count]),
        widths=uniform_integers(next(keys), *widths, [count]),
        canvas=(heights[1], widths[1]),
    )


def draw_places(
    key: tf.Tensor, heights: tf.Tensor, widths: tf.Tensor, sides: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws the top rows and left columns where patches of these sides fit into an image."""
    keys = split_key(key)
    shape = tf.shape(heights)
    return (
        uniform_integers(next(keys), 0, sides[0] - heights, shape),
        uniform_integers(next(keys), 0, sides[1] - widths, shape),
    )


def draw_patterns(
    key: tf.Tensor, rates: tf.Tensor, canvas: tuple[int, int], channels: int, dtype: tf.DType
) -> tf.Tensor:
    """Draws patterns of 0 or 1, (patches, *canvas, channels), at rates of ones, (patches,)."""
    shape = [tf.shape(rates)[0], *canvas, channels]
    share = tf.random.stateless_uniform(shape, key, dtype=rates.dtype)
    return tf.cast(share < rates[:, tf.newaxis, tf.newaxis, tf.newaxis], dtype)


def draw_patches(
    key: tf.Tensor,
    count: tf.Tensor | int,
    images: tf.Tensor,
    heights: tuple[int, int],
    widths: tuple[int, int],
) -> tuple[tf.Tensor, Rectangles, tuple[tf.Tensor, tf.Tensor]]:
    """Draws patches of pixels that are black or white with probability ½, each at a random place.

    Heights and widths lie between bounds, in pixels. Patterns, sides and places are as `paste`
    takes them.
    """
    keys = split_key(key)
    rectangles = draw_rectangles(next(keys), count, heights, widths)
    patterns = draw_patterns(
        next(keys), tf.fill([count], 0.5), rectangles.canvas, images.shape[-1], images.dtype
    )
    sides = image_sides(images)
    places = draw_places(next(keys), rectangles.heights, rectangles.widths, sides)
    return patterns, rectangles, places


def paste(
    images: tf.Tensor,
    patterns: tf.Tensor,
    rectangles: Rectangles,
    which: tf.Tensor,
    places: tuple[tf.Tensor, tf.Tensor],
    pixels: PixelRange,
) -> tf.Tensor:
    """Returns images with a patch pasted on each; differentiable by the patterns.

    Args:
        images: (n, height, width, channels).
        patterns: (patches, *canvas, channels), in shares of the pixel range.
        which: the number of each image's patch, int32 (n,).
        places: each patch's top row and left column, int32 (n,).
    """
    top, left = places
    rows = tf.range(images.shape[1]) - top[:, tf.newaxis]
    columns = tf.range(images.shape[2]) - left[:, tf.newaxis]
    in_rows = (rows >= 0) & (rows < tf.gather(rectangles.heights, which)[:, tf.newaxis])
    in_columns = (columns >= 0) & (columns < tf.gather(rectangles.widths, which)[:, tf.newaxis])
    inside = in_rows[:, :, tf.newaxis] & in_columns[:, tf.newaxis, :]
    rows = tf.clip_by_value(rows, 0, rectangles.canvas[0] - 1)
    columns = tf.clip_by_value(columns, 0, rectangles.canvas[1] - 1)
    height, width = rectangles.canvas
    flat = tf.reshape(patterns, [-1, patterns.shape[-1]])
    index = (which[:, tf.newaxis] * height + rows)[:, :, tf.newaxis] * width
    pasted = tf.gather(flat, index + columns[:, tf.newaxis, :])
    low = tf.constant(pixels.low, images.dtype)
    return tf.where(inside[..., tf.newaxis], low + pixels.span(images.dtype) * pasted, images)
