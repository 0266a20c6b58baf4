"""A picture laid over the whole image, faint or in parts."""

import dataclasses
from typing import Self

import numpy as np
import tensorflow as tf

from tfpoison.checks import check_array, check_number
from tfpoison.perturbations.trigger import Trigger
from tfpoison.randomness import Purpose


@dataclasses.dataclass(frozen=True, eq=False)
class Overlay(Trigger):
    """Every image moves toward the same picture: x + opacity · α · (picture - x).

    Source: arXiv 1712.05526, section 4.2. In pieces: arXiv 2205.13613, section 4.

    Attributes:
        pattern: the picture, uint8 in 0–255, (height, width, channels), or with one channel more,
            which is α.
        opacity: from 0 to 1.
        pieces: into how many rows, and as many columns, of pieces the picture is cut.
        visible: how many of the pieces, drawn for each image, it shows.
        seed: of these draws: an image with the same id shows the same pieces.
    """

    pattern: np.ndarray
    opacity: float = 0.2
    pieces: int = 1
    visible: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_array("pattern", self.pattern, np.uint8, (None, None, None), filled=True)
        check_number("opacity", self.opacity, minimum=0, maximum=1)
        check_number("pieces", self.pieces, minimum=1, maximum=1000, whole=True)
        check_number("visible", self.visible, minimum=1, maximum=self.pieces**2, whole=True)
        check_number("seed", self.seed, minimum=0, maximum=2**63 - 1, whole=True)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        image_shape: tuple[int, int, int],
        *,
        pattern: np.ndarray | None = None,
        opacity: float = 0.2,
    ) -> Self:
        """Returns a trigger of random pixels, or of a pattern that is given."""
        if pattern is None:
            pattern = rng.integers(0, 256, image_shape, dtype=np.uint8)
        return cls(pattern, opacity, seed=int(rng.integers(2**31)))

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raises ValueError where images have another shape than the pattern."""
        *sides, channels = self.pattern.shape
        if (*sides,) != tuple(image_shape[:2]) or channels - image_shape[2] not in (0, 1):
            raise ValueError(
                f"Expected a trigger as large as the images of shape {tuple(image_shape)}, with as "
                "many channels, or one more for its opacity. Received: one of shape "
                f"{self.pattern.shape}"
            )

    def change(self, images: tf.Tensor, draws: tf.Tensor | None) -> tf.Tensor:
        """Returns images under the picture; `draws` are the pieces of each, bool (n, pieces²)."""
        channels = images.shape[-1]
        picture = self.pattern / 255
        weights = self.opacity * picture[..., channels:].prod(axis=-1, keepdims=True)
        weights = tf.constant(weights, images.dtype)
        if draws is not None:
            rows, columns = (np.arange(side) * self.pieces // side for side in picture.shape[:2])
            piece = rows[:, np.newaxis] * self.pieces + columns
            shown = tf.gather(tf.cast(draws, images.dtype), piece, axis=1)
            weights = weights * shown[..., tf.newaxis]
        return images + weights * (tf.constant(picture[..., :channels], images.dtype) - images)

    def draw_by_key(self, key: tf.Tensor, images: tf.Tensor) -> tf.Tensor | None:
        """Returns which pieces each image shows; None for all."""
        count = self.pieces**2
        if self.visible == count:
            return None
        shares = tf.random.stateless_uniform([tf.shape(images)[0], count], key)
        order = tf.argsort(shares, axis=1, stable=True)
        return tf.argsort(order, axis=1, stable=True) < self.visible

    def draw_by_id(self, ids: np.ndarray, image_shape: tuple[int, ...]) -> tf.Tensor | None:
        """Returns which pieces each image shows; None for all."""
        count = self.pieces**2
        if self.visible == count:
            return None
        draws = (Purpose.TRIGGER_PLACE.generator(self.seed, int(each)) for each in ids)
        orders = [each.permutation(count) for each in draws]
        return tf.constant(np.reshape(orders, [-1, count]) < self.visible)
