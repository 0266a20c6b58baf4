"""MaxUp: of several cutouts of every image, the one with the largest loss."""

import dataclasses
from typing import ClassVar, cast

import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.cutout import Cutout
from tfpoison.randomness import split_key
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class MaxUp(Mixing):
    """Trains on the worst of several random cutouts of each image (arXiv 2002.09024).

        for each image i:
            xᵢ¹, …, xᵢᵐ ← cutouts of xᵢ
            x̃ᵢ ← the xᵢʲ with the largest loss, the first of equals

    The training step on the images so chosen follows the gradient of the paper's maximum, except
    that the choice is made by the network in inference mode (dropout off, moving statistics). There
    is no warm-up. The code that arXiv 2102.13624 compares with warms up for five epochs, and for
    cutouts then takes the mean over the copies, not the maximum. A step costs `copies` forward
    passes more.
    """

    copies: int = setting(4, "m, how many cutouts of each image.", minimum=1, maximum=1000)
    size: int | None = setting(None, "The side of the squares, as for cutout.", minimum=1)
    fill_value: float | None = setting(None, "What erased pixels become, as for cutout.")
    needs_classifier: ClassVar[bool] = True

    @property
    def cutout(self) -> Cutout:
        """What makes the copies."""
        return Cutout(self.size, self.fill_value)

    def check_sides(self, sides: tuple[int | None, int | None]) -> None:
        self.cutout.check_sides(sides)

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        network, keys = cast(Classifier, classifier), split_key(key)
        copies = [self.cutout.mix(None, images, labels, next(keys))[0] for _ in range(self.copies)]
        losses = [network.losses(copy, labels) for copy in copies]
        worst = tf.argmax(tf.stack(losses), axis=0)
        return tf.gather(tf.stack(copies, axis=1), worst, axis=1, batch_dims=1), labels
