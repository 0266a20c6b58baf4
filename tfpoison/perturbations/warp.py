"""A small smooth distortion."""

import dataclasses
from typing import Self

import numpy as np
import tensorflow as tf

from tfpoison.checks import check_array, check_number
from tfpoison.perturbations.patches import image_sides
from tfpoison.perturbations.resampling import cubic_weights, sample
from tfpoison.perturbations.trigger import Trigger
from tfpoison.randomness import Purpose


@dataclasses.dataclass(frozen=True, eq=False)
class Warp(Trigger):
    """Every pixel is taken, bilinearly, from a place nearby, as a smooth field says.

    The field is given at control points whose outermost lie on the image's edges. Of an image of
    height H, a field of 1 along an axis with s pixels moves by strength · (s - 1) / (2 H) pixels.
    Source: arXiv 2102.10369, section 3.2 and the authors' code.

    Attributes:
        pattern: the field, down and to the right, float32 (points, points, 2).
        strength: of the field.
        noise: of a random field beside, uniform in ±1 and drawn for every pixel of each image: the
            paper's noise mode at 1.
        seed: of these draws.
    """

    pattern: np.ndarray
    strength: float = 0.5
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_array("pattern", self.pattern, np.float32, (None, None, 2), filled=True)
        check_number("strength", self.strength, minimum=0)
        check_number("noise", self.noise, minimum=0)
        check_number("seed", self.seed, minimum=0, maximum=2**63 - 1, whole=True)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, points: int = 4, strength: float = 0.5, noise: float = 0
    ) -> Self:
        """Draws a field of uniform numbers in ±1, divided by the mean of their sizes."""
        field = rng.uniform(-1, 1, (points, points, 2))
        field /= np.abs(field).mean()
        return cls(field.astype(np.float32), strength, noise, int(rng.integers(2**31)))

    def change(self, images: tf.Tensor, draws: tf.Tensor | None) -> tf.Tensor:
        """Returns the images warped; `draws` is the noise of each, (n, height, width, 2)."""
        sides = np.array(image_sides(images))
        # Moves of the size 1, in pixels.
        unit = (sides - 1) / (2 * sides[0])
        down, right = map(cubic_weights, sides, self.pattern.shape)
        field = np.einsum("ha,abc,wb->hwc", down, self.pattern, right)
        places = np.moveaxis(np.indices((sides[0], sides[1])), 0, -1) + self.strength * unit * field
        places = tf.constant(np.clip(places, 0, sides - 1)[np.newaxis], images.dtype)
        if draws is not None:
            places += tf.constant(self.noise * unit, images.dtype) * tf.cast(draws, images.dtype)
        places = tf.clip_by_value(places, 0, tf.constant(sides - 1, images.dtype))
        return sample(images, tf.broadcast_to(places, [tf.shape(images)[0], *sides, 2]))

    def draw_by_key(self, key: tf.Tensor, images: tf.Tensor) -> tf.Tensor | None:
        """Returns the noise of each image; None without any."""
        shape = [tf.shape(images)[0], *images.shape[1:3], 2]
        return tf.random.stateless_uniform(shape, key, -1, 1) if self.noise else None

    def draw_by_id(self, ids: np.ndarray, image_shape: tuple[int, ...]) -> tf.Tensor | None:
        """Returns the noise of each image; None without any."""
        if not self.noise:
            return None
        draws = (Purpose.TRIGGER_PLACE.generator(self.seed, int(each)) for each in ids)
        shape = (*image_shape[:2], 2)
        return tf.constant(np.reshape([each.uniform(-1, 1, shape) for each in draws], [-1, *shape]))
