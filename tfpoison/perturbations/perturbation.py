"""What every perturbation is: the part of the images that may change, and how far."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.configurable import Configurable
from tfpoison.pixel_range import PixelRange, to_8_bit, to_unit_range
from tfpoison.randomness import Purpose

Parameters = list[tf.Tensor]


class BoundPerturbation(abc.ABC):
    """A perturbation of one batch: everything random is drawn, the parameters are free.

    Attributes:
        batch: the batch before it is perturbed, with the fake labels that the perturbation gives.
        pixels: the range of the pixels.
        initial: the parameters to start from, in shares of the pixel range.
        moves_targets: whether the targets' images depend on the parameters.
        shared: whether all replicas have the same parameters, moved by the sum of their gradients.
    """

    moves_targets: bool = False
    shared: bool = False

    def __init__(self, batch: SplitBatch, pixels: PixelRange, initial: Parameters):
        self.batch = batch
        self.pixels = pixels
        self.initial = initial

    @abc.abstractmethod
    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with its images perturbed; differentiable by the parameters."""

    def project(self, parameters: Parameters) -> Parameters:
        """Returns the closest parameters that the threat model allows."""
        return parameters

    def finish(self, parameters: Parameters) -> SplitBatch:
        """Returns the perturbed batch with every pixel held exactly within its range."""
        perturbed = self.apply(self.project(parameters))
        images = self.pixels.clip(perturbed.poison_images, self.batch.poison_images)
        return perturbed.replace(poison_images=images)

    def gradients(self, parameters: Parameters, image_gradients: list[tf.Tensor]) -> Parameters:
        """Returns gradients by the parameters, given those by poison images and moved targets."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            perturbed = self.apply(parameters)
        images = [perturbed.poison_images, perturbed.target_images][: len(image_gradients)]
        gradients = tape.gradient(images, parameters, output_gradients=image_gradients)
        return [tf.convert_to_tensor(each) for each in gradients]


class SeenThrough(BoundPerturbation):
    """A perturbation whose poisons are seen transformed, as whoever trains on them sees them.

    What `finish` returns is not transformed yet. Targets stand for images that are classified,
    which nobody transforms.

    Args:
        bound: the perturbation.
        transform: from images to images of the same shape, differentiable.
    """

    def __init__(self, bound: BoundPerturbation, transform: Callable[[tf.Tensor], tf.Tensor]):
        super().__init__(bound.batch, bound.pixels, bound.initial)
        self.moves_targets, self.shared = bound.moves_targets, bound.shared
        self.project, self.finish = bound.project, bound.finish  # type: ignore[method-assign]
        self._bound = bound
        self._transform = transform

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the perturbed batch, its poisons transformed."""
        perturbed = self._bound.apply(parameters)
        return perturbed.replace(poison_images=self._transform(perturbed.poison_images))


@dataclasses.dataclass(frozen=True)
class Perturbation(Configurable, abc.ABC):
    """A perturbation: it knows what may change, neither why nor when."""

    needs_targets: ClassVar[bool] = False
    """Whether it takes pixels from the targets or changes them."""

    changes_targets: ClassVar[bool] = False
    """Whether the targets are changed, and trained on so, as well as the poisons."""

    moves_targets: ClassVar[bool] = False
    """Whether the targets change with the parameters, in every step of crafting."""

    lasts: ClassVar[bool] = False
    """Whether a training keeps the parameters from step to step; `start` says where they start."""

    @property
    def radius(self) -> float:
        """What step sizes of PGD and momentum are shares of, itself a share of the pixel range."""
        return 1.0

    def check_sides(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where images of that height and width are too small."""

    def start(
        self, classes: int, image_shape: Sequence[int], key: tf.Tensor, dtype: tf.DType
    ) -> Parameters:
        """Returns where parameters start that a training keeps; there are none by default."""
        return []

    @abc.abstractmethod
    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPerturbation:
        """Draws what is random and returns the perturbation of this batch of floats."""


def perturb(perturbation: Perturbation, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns images with a perturbation as it is drawn, before any step of an optimizer.

    Images and targets are uint8 in 0–255, (n, height, width, channels).
    """
    none = [tf.zeros(len(some), tf.int64) for some in (images, targets, targets)]
    batch = SplitBatch(to_unit_range(images), none[0], to_unit_range(targets), *none[1:])
    encoding, key = LabelEncoding(2, one_hot=False), Purpose.CRAFTING.key(0)
    bound = perturbation.bind(batch, pixels=PixelRange(), encoding=encoding, key=key)
    return to_8_bit(bound.finish(bound.initial).poison_images)
