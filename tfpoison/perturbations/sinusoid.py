"""A wave over the whole image."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfpoison.perturbations.patches import image_sides
from tfpoison.perturbations.trigger import Trigger
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Sinusoid(Trigger):
    """Column j of W brightens by Δ sin(2π j f / W), in every row and channel.

    Source: arXiv 1902.11237, section 3.
    """

    amplitude: float = setting(
        20 / 255, "Δ of the wave, a share of the pixel range.", minimum=0, maximum=1
    )
    frequency: float = setting(6.0, "f, the waves that stand side by side.", minimum=0)

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raises ValueError where nothing is seen of the wave in images of that shape."""
        if np.abs(self._wave(image_shape[1])).max() < 1 / 255:
            raise ValueError(
                f"Expected a wave that shows in images of {image_shape[1]} columns. Received: "
                f"frequency={self.frequency}, amplitude={self.amplitude}. Give another frequency."
            )

    def change(self, images: tf.Tensor, draws: None) -> tf.Tensor:
        """Returns images with the wave on them, held within the range."""
        wave = self._wave(image_sides(images)[1])[:, np.newaxis]
        return tf.clip_by_value(images + tf.constant(wave, images.dtype), 0, 1)

    def _wave(self, width: int) -> np.ndarray:
        return self.amplitude * np.sin(2 * np.pi * np.arange(width) * self.frequency / width)
