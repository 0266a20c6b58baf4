"""Triggers: changes of an image that a backdoor answers to."""

import abc
import dataclasses
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.checks import check_name
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters, Perturbation
from tfpoison.pixel_range import PixelRange, to_8_bit, to_unit_range

_BATCH = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Trigger(Perturbation, abc.ABC):
    """A change that is the same whichever image carries it, but for what is drawn for each.

    A recipe puts it on poisons, sources and targets, whose ids say what is drawn for them; in the
    training step a key does. A new kind of trigger is a dataclass with `change`; its field
    `pattern`, if it has one, is an array, and all others are plain values that JSON can hold.
    """

    # Arrays have no one truth of being equal: a trigger with a pattern is equal to itself alone.
    __eq__, __hash__ = object.__eq__, object.__hash__

    @abc.abstractmethod
    def change(self, images: tf.Tensor, draws: Any) -> tf.Tensor:
        """Returns images with the trigger.

        Args:
            images: in shares of the pixel range, (n, height, width, channels).
            draws: what `draw_by_key` or `draw_by_id` returned for them.
        """

    def replace(self, **changes: Any) -> Self:
        """Returns the trigger with some of its settings replaced.

        Raises:
            ValueError: it has no such setting.
        """
        for name in changes:
            check_name(f"setting of a {type(self).__name__}", name, self.settings())
        return dataclasses.replace(self, **changes)

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raises ValueError where images of that shape cannot carry the trigger."""

    def draw_by_key(self, key: tf.Tensor, images: tf.Tensor) -> Any:
        """Returns what is drawn for images of the training step; nothing by default."""

    def draw_by_id(self, ids: np.ndarray, image_shape: tuple[int, ...]) -> Any:
        """Returns what is drawn for the images of these ids; nothing by default."""

    def put_on(self, images: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Returns images, uint8 in 0–255, (n, height, width, channels), with the trigger on them.

        Draws depend on the images' ids, (n,).
        """
        changed = images.copy()
        for first in range(0, len(images), _BATCH):
            some = slice(first, first + _BATCH)
            draws = self.draw_by_id(ids[some], images.shape[1:])
            changed[some] = to_8_bit(self.change(to_unit_range(images[some]), draws))
        return changed

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPerturbation:
        """Returns the trigger on the poisons of this batch."""
        images = pixels.to_shares(batch.poison_images)
        changed = pixels.from_shares(self.change(images, self.draw_by_key(key, images)))
        return _StillPerturbation(batch.replace(poison_images=changed), pixels, [])


class _StillPerturbation(BoundPerturbation):
    """A perturbation without parameters."""

    def apply(self, parameters: Parameters) -> SplitBatch:
        return self.batch
