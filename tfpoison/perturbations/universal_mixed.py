"""Universal perturbations of both kinds: some images of a batch carry δ, the others a patch."""

import dataclasses
from collections.abc import Iterator, Sequence

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.for_each_class import with_aims
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters
from tfpoison.perturbations.universal import Universal
from tfpoison.perturbations.universal_patch import UniversalPatch
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key
from tfpoison.settings import setting


class BoundMixed(BoundPerturbation):
    """Two perturbations, of which each image carries one; the parameters are those of both."""

    shared = True

    def __init__(self, first: BoundPerturbation, second: BoundPerturbation, is_first: tf.Tensor):
        super().__init__(first.batch, first.pixels, [*first.initial, *second.initial])
        self._parts = first, second
        self._is_first = tf.reshape(
            is_first, [-1, *[1] * (first.batch.poison_images.shape.rank - 1)]
        )

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch in which each image carries its perturbation."""
        first, second = (part.apply(own) for part, own in self._each(parameters))
        images = tf.where(self._is_first, first.poison_images, second.poison_images)
        return self.batch.replace(poison_images=images)

    def project(self, parameters: Parameters) -> Parameters:
        """Returns the closest parameters that both allow."""
        return [value for part, own in self._each(parameters) for value in part.project(own)]

    def _each(self, parameters: Parameters) -> Iterator[tuple[BoundPerturbation, Parameters]]:
        first, second = self._parts
        yield first, parameters[: len(first.initial)]
        yield second, parameters[len(first.initial) :]


@dataclasses.dataclass(frozen=True)
class UniversalMixed(UniversalPatch, Universal):
    """A `Universal` on some images, drawn for each, and a `UniversalPatch` on the others.

    The one alone leaves patches as triggers, the other triggers that cover the image.
    """

    patch_share: float = setting(0.5, "The share of patches.", minimum=0, maximum=1)

    @property
    def parts(self) -> tuple[Universal, UniversalPatch]:
        """The perturbations that are mixed."""
        return Universal(self.epsilon, self.initializer), UniversalPatch(self.area)

    def start(
        self, classes: int, image_shape: Sequence[int], key: tf.Tensor, dtype: tf.DType
    ) -> Parameters:
        """Returns the parameters of both."""
        shape = (classes, image_shape, key, dtype)
        return [value for each in self.parts for value in each.start(*shape)]

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPerturbation:
        """Draws aims, starts, and which images carry a patch."""
        keys = split_key(key)
        batch, _ = with_aims(batch, encoding, next(keys))
        first, second = (
            each.bind(batch, pixels=pixels, encoding=encoding, key=next(keys))
            for each in self.parts
        )
        drawn = tf.random.stateless_uniform(tf.shape(batch.poison_images)[:1], next(keys))
        return BoundMixed(first, second, drawn >= self.patch_share)
