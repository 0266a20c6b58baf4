"""Images taken anew from places between their pixels, and smooth fields that say from where."""

import numpy as np
import tensorflow as tf

# Of the cubic convolution that fields are enlarged by, as in PyTorch's `interpolate`.
_CUBIC = -0.75


def cubic_weights(size: int, points: int) -> np.ndarray:
    """Returns the weights of control points at `size` places from the first to the last one."""
    places = np.linspace(0, points - 1, size)
    # Beyond the edges the outermost points stand again.
    distance = np.abs(places[:, np.newaxis] - np.arange(-1, points + 1))
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
    far = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
    weights = np.select([distance <= 1, distance < 2], [near, far], 0.0)
    weights[:, 1] += weights[:, 0]
    weights[:, -2] += weights[:, -1]
    return weights[:, 1:-1]


def sample(images: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Returns the images' values at places (row, column), (n, H, W, 2), between their pixels.

    It is bilinear, and differentiable by the places. Those must lie within the image.
    """
    height, width = images.shape[1:3]
    first = tf.floor(places)
    share = tf.cast(places - first, images.dtype)
    corner = tf.cast(first, tf.int32)
    flat = tf.reshape(images, [-1, height * width, images.shape[3]])
    sampled = tf.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            row = tf.minimum(corner[..., 0] + down, height - 1)
            column = tf.minimum(corner[..., 1] + right, width - 1)
            weights = [
                each if step else 1 - each
                for step, each in zip((down, right), tf.unstack(share, axis=-1), strict=True)
            ]
            pixels = tf.gather(flat, row * width + column, batch_dims=1)
            sampled += (weights[0] * weights[1])[..., tf.newaxis] * pixels
    return sampled
