"""The base of the defenses that compress, or blur, every training image."""

import abc
from typing import Any, ClassVar

import tensorflow as tf

from tfpoison.batch import check_images
from tfpoison.configurable import Configurable
from tfpoison.pixel_range import PixelRange


class Transform(Configurable, abc.ABC):
    """The same change of every training image, which takes away what people hardly see.

    It comes last of all that happens to an image but mixing: after augmentation, and after
    crafting, which differentiates through it. Images to be classified do not pass through it, so
    that the network does its task on ordinary images: as arXiv 2301.13838 has it, whose code passes
    test images as well where asked to. To do so, put it in front of the network.

    Attributes:
        compiles: whether XLA can compile it.
    """

    compiles: ClassVar[bool] = True

    def __call__(self, images: tf.Tensor, pixel_range: Any = (0.0, 1.0)) -> tf.Tensor:
        """Returns the changed images, of the same shape and dtype.

        Args:
            images: floating-point, (n, H, W, C).
            pixel_range: (low, high) that pixels live in, as for `RobustModel`.

        Raises:
            ValueError: the images are not as above, or have channels that it cannot take.
        """
        images = tf.convert_to_tensor(images)
        check_images(images)
        pixels = PixelRange(pixel_range)
        changed = pixels.from_shares(self._change(pixels.to_shares(images)))
        return tf.ensure_shape(changed, images.shape)

    @abc.abstractmethod
    def _change(self, shares: tf.Tensor) -> tf.Tensor:
        """Returns the changed images; the arguments are checked, pixels are in [0, 1].

        Interpolating augmentations may overshoot.
        """


def check_colours(images: tf.Tensor) -> None:
    """Raises ValueError unless images are grey or RGB."""
    if images.shape[-1] not in (1, 3):
        raise ValueError(
            "Expected grey or RGB images, of 1 or 3 channels. Received: images of shape "
            f"{images.shape}"
        )
