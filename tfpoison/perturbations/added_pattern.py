"""A pattern that is added to the whole image."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfpoison.checks import check_array, check_number
from tfpoison.perturbations.trigger import Trigger


@dataclasses.dataclass(frozen=True, eq=False)
class AddedPattern(Trigger):
    """x + strength · pattern, held within the range; source: arXiv 2204.05255, section 3.

    Attributes:
        pattern: what is added, in grey levels from -255 to 255, int16 (height, width, channels).
        strength: what it is multiplied by.
    """

    pattern: np.ndarray
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_array("pattern", self.pattern, np.int16, (None, None, None), filled=True)
        check_number("strength", self.strength, minimum=0)

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raises ValueError where images have another shape than the pattern."""
        if self.pattern.shape != tuple(image_shape):
            raise ValueError(
                f"Expected a pattern of the images' shape {tuple(image_shape)}. Received: one of "
                f"{self.pattern.shape}"
            )

    def change(self, images: tf.Tensor, draws: None) -> tf.Tensor:
        """Returns images with the pattern on them."""
        added = tf.constant(self.strength / 255 * self.pattern, images.dtype)
        return tf.clip_by_value(images + added, 0, 1)
