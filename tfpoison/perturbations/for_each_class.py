"""What perturbations have in common of which each class has one, shared by many images."""

import abc
import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch, most_frequent_other_class
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters, Perturbation
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key


class BoundForEachClass(BoundPerturbation):
    """A perturbation whose parameters have an entry for each class, that an image aims at.

    Attributes:
        which: the class that each image aims at, (n,).
        limit: how far the parameters may go.
    """

    shared = True

    def __init__(
        self,
        batch: SplitBatch,
        pixels: PixelRange,
        initial: Parameters,
        which: tf.Tensor,
        limit: float,
    ):
        super().__init__(batch, pixels, initial)
        self.which = which
        self.limit = limit


@dataclasses.dataclass(frozen=True)
class ForEachClass(Perturbation, abc.ABC):
    """A perturbation for each class, the same on all images that aim at it.

    An image aims at what `SplitBatch.aims` says, and where that says nothing at a class drawn among
    those that are not its own. In the training step the perturbations are kept from step to step.
    """

    lasts: ClassVar[bool] = True

    @abc.abstractmethod
    def on(
        self, batch: SplitBatch, pixels: PixelRange, initial: Parameters, which: tf.Tensor
    ) -> BoundPerturbation:
        """Returns the perturbation of a batch whose images aim at these classes, (n,)."""

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPerturbation:
        """Draws where it starts, and what images aim at where that is not given."""
        keys = split_key(key)
        images = batch.poison_images
        initial = self.start(encoding.classes, images.shape[1:], next(keys), images.dtype)
        batch, which = with_aims(batch, encoding, next(keys))
        return self.on(batch, pixels, initial, which)


def with_aims(
    batch: SplitBatch, encoding: LabelEncoding, key: tf.Tensor
) -> tuple[SplitBatch, tf.Tensor]:
    """Returns a batch whose poisons aim at classes, drawn where it gives none, and those, (n,)."""
    if batch.aims is not None:
        return batch, encoding.decode(batch.aims)
    own = encoding.named(batch.poison_labels)
    classes = most_frequent_other_class(tf.zeros([encoding.classes]), own, key)
    return batch.replace(aims=encoding.encode_like(classes, batch.poison_labels)), classes
