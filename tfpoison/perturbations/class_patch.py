"""Backdoor patches: each class has a patch, and targets carry the patch of another class."""

import dataclasses
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.patches import (
    Rectangles,
    draw_patterns,
    draw_places,
    draw_rectangles,
    image_sides,
    paste,
)
from tfpoison.perturbations.perturbation import BoundPerturbation, Parameters, Perturbation
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import derangement, split_key, uniform_integers
from tfpoison.settings import setting

PLACES = ("image", "class")
PATTERNS = ("bernoulli", "image")


@dataclasses.dataclass(frozen=True)
class PastedPatches:
    """Where the patches go that one side of the batch (poisons or targets) carries.

    Attributes:
        opacities: of each image's patch, (n,); None where they cover what is below.
    """

    rectangles: Rectangles
    which: tf.Tensor
    places: tuple[tf.Tensor, tf.Tensor]
    opacities: tf.Tensor | None = None


class BoundPatches(BoundPerturbation):
    """Patches on the poisons and on the targets of a batch; the parameters are their patterns.

    With one tensor of patterns both sides carry the same patches, with two each has its own.
    """

    moves_targets = True

    def __init__(
        self,
        batch: SplitBatch,
        pixels: PixelRange,
        patterns: Parameters,
        on_poisons: PastedPatches,
        on_targets: PastedPatches,
    ):
        super().__init__(batch, pixels, patterns)
        self.on_poisons = on_poisons
        self.on_targets = on_targets

    def apply(self, parameters: Parameters) -> SplitBatch:
        """Returns the batch with the patches pasted on."""
        return self.batch.replace(
            poison_images=self._paste(self.batch.poison_images, parameters[0], self.on_poisons),
            target_images=self._paste(self.batch.target_images, parameters[-1], self.on_targets),
        )

    def project(self, parameters: Parameters) -> Parameters:
        """Returns the patterns clipped to the pixel range."""
        return [tf.clip_by_value(patterns, 0.0, 1.0) for patterns in parameters]

    def finish(self, parameters: Parameters) -> SplitBatch:
        """Returns the patched batch."""
        return self.apply(self.project(parameters))

    def _paste(self, images: tf.Tensor, patterns: tf.Tensor, patches: PastedPatches) -> tf.Tensor:
        pasted = paste(
            images, patterns, patches.rectangles, patches.which, patches.places, self.pixels
        )
        if patches.opacities is None:
            return pasted
        return images + tf.reshape(patches.opacities, [-1, 1, 1, 1]) * (pasted - images)


@dataclasses.dataclass(frozen=True)
class ClassPatch(Perturbation):
    """A random patch for each class, pasted on poisons of the class and on targets of another.

    A random derangement says which class's patch the targets of a class carry, and this class is
    their fake label. The patched targets are trained on with their true labels, so that the
    network learns to pass over patches. Source: arXiv 2102.13624, section 3 (backdoor triggers).

    A pattern is black and white pixels (each channel by itself) at a rate drawn for each class, or
    a piece cut from an image of the batch. In use, ValueError tells of patches that are larger than
    the images.
    """

    needs_targets: ClassVar[bool] = True
    changes_targets: ClassVar[bool] = True
    moves_targets: ClassVar[bool] = True

    place: str = setting(
        "image", "A random place for each image, or one for each class.", choices=PLACES
    )
    pattern: str = setting("bernoulli", "Black and white, or cut from an image.", choices=PATTERNS)
    patch_size: int | None = setting(
        None,
        "The size in pixels that the defender expects: sides are drawn from a half to seven "
        "quarters of it; unset for 10 % to 40 % of the image's.",
        minimum=1,
    )
    same_on_targets: bool = setting(True, "Targets carry the poisons' patches, not their own.")
    opacity: float = setting(
        1.0, "The least; each image's is drawn between it and 1.", above=0, maximum=1
    )

    def check_sides(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where the patches do not fit into images of that height and width."""
        for side in sides:
            side_bounds(side, self.patch_size)

    def bind(
        self, batch: SplitBatch, *, pixels: PixelRange, encoding: LabelEncoding, key: tf.Tensor
    ) -> BoundPatches:
        """Draws shapes, patterns, places and the derangement."""
        keys = split_key(key)
        poison_classes = encoding.decode(batch.poison_labels)
        mapping = derangement(next(keys), encoding.classes)
        target_classes = tf.gather(mapping, encoding.decode(batch.target_labels))
        labels = tf.concat([batch.poison_labels, batch.target_labels], axis=0)
        batch = batch.replace(fake_labels=encoding.encode_like(target_classes, labels))
        sides = image_sides(batch.poison_images)
        rectangles = self._draw_rectangles(next(keys), encoding.classes, sides)
        patterns = [self._draw_patterns(next(keys), rectangles, batch, pixels)]
        target_rectangles = rectangles
        if not self.same_on_targets:
            target_rectangles = self._draw_rectangles(next(keys), encoding.classes, sides)
            patterns.append(self._draw_patterns(next(keys), target_rectangles, batch, pixels))
        place_keys = [next(keys), next(keys)]
        if self.place == "class" and self.same_on_targets:
            place_keys[1] = place_keys[0]
        return BoundPatches(
            batch,
            pixels,
            patterns,
            on_poisons=dataclasses.replace(
                self._place(place_keys[0], rectangles, poison_classes, sides),
                opacities=self._draw_opacities(next(keys), batch.poison_images),
            ),
            on_targets=dataclasses.replace(
                self._place(place_keys[1], target_rectangles, target_classes, sides),
                opacities=self._draw_opacities(next(keys), batch.target_images),
            ),
        )

    def _draw_opacities(self, key: tf.Tensor, images: tf.Tensor) -> tf.Tensor | None:
        if self.opacity == 1:
            return None
        return tf.random.stateless_uniform(tf.shape(images)[:1], key, self.opacity, 1, images.dtype)

    def _draw_rectangles(self, key: tf.Tensor, count: int, sides: tuple[int, int]) -> Rectangles:
        heights, widths = (side_bounds(side, self.patch_size) for side in sides)
        return draw_rectangles(key, count, heights, widths)

    def _draw_patterns(
        self, key: tf.Tensor, rectangles: Rectangles, batch: SplitBatch, pixels: PixelRange
    ) -> tf.Tensor:
        if self.pattern == "image":
            return cut_pieces(key, rectangles, batch, pixels)
        images, keys = batch.poison_images, split_key(key)
        rates = tf.random.stateless_uniform(tf.shape(rectangles.heights), next(keys))
        return draw_patterns(next(keys), rates, rectangles.canvas, images.shape[-1], images.dtype)

    def _place(
        self, key: tf.Tensor, rectangles: Rectangles, classes: tf.Tensor, sides: tuple[int, int]
    ) -> PastedPatches:
        heights, widths = rectangles.heights, rectangles.widths
        if self.place == "class":
            top, left = draw_places(key, heights, widths, sides)
            places = (tf.gather(top, classes), tf.gather(left, classes))
        else:
            heights, widths = tf.gather(heights, classes), tf.gather(widths, classes)
            places = draw_places(key, heights, widths, sides)
        return PastedPatches(rectangles, classes, places)


def side_bounds(side: int, patch_size: int | None) -> tuple[int, int]:
    """Returns the least and the greatest side of a patch on an image of that side, in pixels.

    Raises:
        ValueError: the greatest is larger than the image.
    """
    if patch_size is None:
        return max(side // 10, 1), max(2 * side // 5, 1)
    least, greatest = max(patch_size // 2, 1), 7 * patch_size // 4
    if greatest > side:
        raise ValueError(
            f"Expected patches to fit into the images, whose side is {side} pixels. Received: "
            f"patch_size={patch_size}, which draws sides up to {greatest} pixels."
        )
    return least, greatest


def cut_pieces(
    key: tf.Tensor, rectangles: Rectangles, batch: SplitBatch, pixels: PixelRange
) -> tf.Tensor:
    """Cuts a piece for each rectangle from a random image of the batch, in shares of the range."""
    keys = split_key(key)
    images = tf.concat([batch.poison_images, batch.target_images], axis=0)
    sides = image_sides(images)
    last = tf.maximum(tf.shape(images)[0], 1) - 1
    source = uniform_integers(next(keys), 0, last, tf.shape(rectangles.heights))
    # A replica with an empty batch has no image to cut from; a black one stands in.
    images = tf.concat([images, tf.zeros([1, *images.shape[1:]], images.dtype)], axis=0)
    top, left = draw_places(next(keys), rectangles.heights, rectangles.widths, sides)
    rows = tf.minimum(top[:, tf.newaxis] + tf.range(rectangles.canvas[0]), sides[0] - 1)
    columns = tf.minimum(left[:, tf.newaxis] + tf.range(rectangles.canvas[1]), sides[1] - 1)
    # Pixel by pixel: whole images, one for each of many classes, would fill the memory.
    lines = (source[:, tf.newaxis] * sides[0] + rows) * sides[1]
    places = lines[:, :, tf.newaxis] + columns[:, tf.newaxis, :]
    return pixels.to_shares(tf.gather(tf.reshape(images, [-1, images.shape[-1]]), places))
