"""The trigger of most backdoors: a small patch of fixed pixels."""

import dataclasses
import io
import pathlib
from typing import Self

import numpy as np
import tensorflow as tf

from tfpoison import files
from tfpoison.checks import check_array, check_number
from tfpoison.perturbations.patches import Rectangles, draw_places, image_sides, paste
from tfpoison.perturbations.trigger import Trigger
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose

RANDOM_PLACE = "random"
_CORNERS = {
    "top_left": (0, 0),
    "top_right": (0, 1),
    "bottom_left": (1, 0),
    "bottom_right": (1, 1),
}
PLACES = (RANDOM_PLACE, *_CORNERS)


Places = tuple[tf.Tensor, tf.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Patch(Trigger):
    """A patch that is pasted on images.

    Attributes:
        pattern: uint8 in 0–255, (height, width, channels).
        place: the top row and the left column; None for a random place on every image.
        seed: of random places: an image with the same id gets its trigger at the same place.
    """

    pattern: np.ndarray
    place: tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_array("pattern", self.pattern, np.uint8, (None, None, None), minimum=0)
        if self.place is not None:
            object.__setattr__(self, "place", tuple(self.place))
            if len(self.place) != 2:
                raise ValueError(
                    f"Expected `place` to be a row and a column. Received: {self.place}"
                )
            for each in self.place:
                check_number("place", each, minimum=0, whole=True)
        check_number("seed", self.seed, minimum=0, maximum=2**63 - 1, whole=True)

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        image_shape: tuple[int, int, int],
        *,
        size: int | None = None,
        place: str = RANDOM_PLACE,
        pattern: np.ndarray | None = None,
    ) -> Self:
        """Draws a trigger of black and white pixels, each channel by itself.

        Args:
            size: the side of the trigger in pixels, None for a quarter of the images' side; ignored
                where a pattern is given.
            place: `"random"`, `"top_left"`, …, or `"ROW,COLUMN"`.
            pattern: a pattern in place of a random one, uint8, (height, width, channels).

        Raises:
            ValueError: the trigger does not fit into the images, or there is no such place.
        """
        if pattern is None:
            size = max(min(image_shape[:2]) // 4, 1) if size is None else size
            check_number("trigger_size", size, minimum=1, whole=True)
            pattern = rng.integers(0, 2, (size, size, image_shape[2]), dtype=np.uint8) * 255
        check_fits(pattern.shape, image_shape)
        where = parse_place(place, pattern.shape, image_shape)
        return cls(pattern, where, int(rng.integers(2**31)))

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Raises ValueError where the trigger does not fit into images of that shape."""
        check_fits(self.pattern.shape, image_shape)
        if self.place is not None:
            parse_place(",".join(map(str, self.place)), self.pattern.shape, image_shape)

    def change(self, images: tf.Tensor, draws: Places) -> tf.Tensor:
        """Returns images with the patch at these top rows and left columns."""
        height, width = self.pattern.shape[:2]
        rectangle = Rectangles(tf.constant([height]), tf.constant([width]), (height, width))
        pattern = tf.constant(self.pattern[np.newaxis], images.dtype) / 255
        which = tf.zeros(tf.shape(images)[:1], tf.int32)
        return paste(images, pattern, rectangle, which, draws, PixelRange())

    def draw_by_key(self, key: tf.Tensor, images: tf.Tensor) -> Places:
        """Returns the patch's place on each image."""
        count = tf.shape(images)[:1]
        if self.place is not None:
            return tf.fill(count, self.place[0]), tf.fill(count, self.place[1])
        height, width = (tf.fill(count, side) for side in self.pattern.shape[:2])
        return draw_places(key, height, width, image_sides(images))

    def draw_by_id(self, ids: np.ndarray, image_shape: tuple[int, ...]) -> Places:
        """Returns the patch's place on each image."""
        places = [self.place_on(int(each), image_shape) for each in ids]
        top, left = np.reshape(places, [-1, 2]).astype(np.int32).T
        return tf.constant(top), tf.constant(left)

    def place_on(self, number: int, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns the top row and the left column on the image of that id and shape."""
        if self.place is not None:
            return self.place
        rng = Purpose.TRIGGER_PLACE.generator(self.seed, number)
        top, left = (rng.integers(shape[n] - self.pattern.shape[n] + 1) for n in (0, 1))
        return int(top), int(left)


def check_fits(pattern: tuple[int, ...], image_shape: tuple[int, ...]) -> None:
    """Raises ValueError where a pattern, (height, width, channels), is larger than the images."""
    sides = zip(pattern[:2], image_shape[:2], strict=True)
    fits = all(0 < ours <= theirs for ours, theirs in sides)
    if len(pattern) != 3 or not fits or pattern[2] != image_shape[2]:
        raise ValueError(
            f"Expected a trigger that fits into the images of shape {tuple(image_shape)}, with as "
            f"many channels. Received: a trigger of shape {tuple(pattern)}"
        )


def parse_place(
    place: str, pattern: tuple[int, ...], image_shape: tuple[int, ...]
) -> tuple[int, int] | None:
    """Returns the top row and left column that a place's name stands for; None for random ones.

    Raises:
        ValueError: there is no such place, or the trigger would stand out of the image.
    """
    if place == RANDOM_PLACE:
        return None
    room = [image_shape[n] - pattern[n] for n in (0, 1)]
    if place in _CORNERS:
        down, right = _CORNERS[place]
        return down * room[0], right * room[1]
    parts = [each.strip() for each in place.split(",")]
    if len(parts) == 2 and all(each.isdigit() for each in parts):
        top, left = int(parts[0]), int(parts[1])
        if top <= room[0] and left <= room[1]:
            return top, left
    raise ValueError(
        f"Expected the trigger's place to be one of {', '.join(PLACES)}, or ROW,COLUMN up to "
        f"{room[0]},{room[1]}. Received: {place!r}"
    )


def read_pattern(path: str | pathlib.Path) -> np.ndarray:
    """Returns an image file's pixels, uint8 (height, width, channels), or raises ValueError."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(files.read_bytes(path))) as image:
            if image.mode[0] in "IF":
                # Pillow would make all beyond 255 white.
                raise ValueError("more than 8 bits a channel: scale its levels to 0-255")
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except Exception as error:  # Broken images raise whatever their decoders run into.
        raise ValueError(
            f"Expected the trigger to be an image file. Received: {path} ({error})"
        ) from error
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
