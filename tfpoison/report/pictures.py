"""Pictures of images: rows under their names, each image with a caption."""

import bisect
import io
import math
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import PIL.PngImagePlugin

from tfpoison.notes import share_of_range

# What a phone shows side by side, at the size that is drawn.
MOST_ABREAST = 4
_SIDE, _TEXT = 96, 12
_SMALL_SIDE, _SMALL_TEXT = 48, 8
_MOST_ROWS = 100
# Neither bright on a dark page nor dark on a bright one.
_GROUND, _INK = "#dcdcdc", "#000000"
_FONT = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
_CAPTION = "Description"

Row = tuple[str, np.ndarray, Sequence[str]]


def draw_rows(rows: Sequence[Row]) -> PIL.Image.Image:
    """Draws rows of images, each with its name above it and a caption under every image.

    Many rows are drawn smaller, and stand beside each other: the time is linear in their number.

    Args:
        rows: of each its name, its images, (n, height, width, channels), uint8 in 0-255 or floats
            in [0, 1], with 1 or 3 channels, and a caption for each image, or none at all.

    Raises:
        ValueError: no row has an image.
    """
    columns = max((len(images) for _, images, _ in rows), default=0)
    if not columns:
        raise ValueError("Expected images to draw. Received none.")
    side, text = (_SIDE, _TEXT) if len(rows) <= _MOST_ROWS else (_SMALL_SIDE, _SMALL_TEXT)
    fonts = [PIL.ImageFont.truetype(_FONT, size) for size in (text + 2, text)]
    gap = text // 2
    width = columns * (side + gap) + gap
    heights = [side + (3 if captions else 2) * text + 2 * gap for _, _, captions in rows]
    in_a_column = math.ceil(len(rows) / math.ceil(len(rows) / _MOST_ROWS))
    stacks = [heights[first : first + in_a_column] for first in range(0, len(rows), in_a_column)]
    sheet = PIL.Image.new("RGB", (len(stacks) * width, max(map(sum, stacks))), _GROUND)
    draw = PIL.ImageDraw.Draw(sheet)
    for number, (name, images, captions) in enumerate(rows):
        column, place = divmod(number, in_a_column)
        left, top = column * width + gap, sum(stacks[column][:place])
        draw.text((left, top), _shorten(name, fonts[0], width - 2 * gap), _INK, fonts[0])
        top += text + gap
        for index, image in enumerate(images):
            sheet.paste(thumbnail(image, side), (left, top))
            if captions:
                caption = _shorten(captions[index], fonts[1], side + gap)
                draw.text((left, top + side), caption, _INK, fonts[1])
            left += side + gap
    return sheet


def draw_change(
    before: np.ndarray,
    after: np.ndarray,
    names: Sequence[str],
    *,
    what: str = "poisoned",
    targets: Row | None = None,
) -> tuple[PIL.Image.Image, str]:
    """Draws images before and after a change, with the change between, enlarged, and says how.

    Args:
        before: (n, height, width, channels) in [0, 1]; the first 4 are shown.
        after: the same images after the change, which are called `what` there.
        names: what stands under each of them.
        targets: a row of other images that goes below.

    Raises:
        ValueError: there is no image, or the shapes differ.
    """
    if before.shape != after.shape or before.ndim != 4 or not len(before):
        raise ValueError(
            "Expected images before and after as (n, height, width, channels) with n at least 1, "
            f"both of one shape. Received: {before.shape} and {after.shape}"
        )
    before, after, names = before[:MOST_ABREAST], after[:MOST_ABREAST], names[:MOST_ABREAST]
    change = after - before
    largest = float(np.abs(change).max())
    factor = 0.5 / largest if largest else 1.0
    rows: list[Row] = [
        ("clean", before, names),
        (f"difference × {factor:.2g}", 0.5 + factor * change, ()),
        (what, after, ()),
    ]
    told = (
        f"The difference is drawn {factor:.2g} times as large, around grey; "
        f"at most it is {share_of_range(largest)}."
    )
    return draw_rows([*rows, *([targets] if targets else [])]), told


def png(picture: PIL.Image.Image, caption: str = "") -> bytes:
    """Returns a picture as a PNG that holds its caption; the same one gives the same bytes."""
    known = PIL.PngImagePlugin.PngInfo()
    if caption:
        known.add_itxt(_CAPTION, caption)
    buffer = io.BytesIO()
    # Photographs become hardly smaller by more.
    picture.save(buffer, "PNG", compress_level=1, pnginfo=known)
    return buffer.getvalue()


def read_caption(path: pathlib.Path) -> str:
    """Returns the caption that `png` has put into a file; the file's name where there is none."""
    with PIL.Image.open(path) as picture:
        return str(picture.info.get(_CAPTION, path.stem))


def jpeg(image: np.ndarray) -> bytes:
    """Returns an image, as in `draw_rows`, as a small JPEG."""
    buffer = io.BytesIO()
    thumbnail(image, _SIDE).convert("RGB").save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def to_picture(image: np.ndarray) -> PIL.Image.Image:
    """Returns an image, uint8 (height, width, channels), as a picture in grey or in colour."""
    return PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def thumbnail(image: np.ndarray, side: int) -> PIL.Image.Image:
    """Returns an image with this longer side; the pixels of a small one stay squares."""
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    picture = to_picture(image)
    scale = side / max(picture.size)
    way = PIL.Image.Resampling.NEAREST if scale > 1 else PIL.Image.Resampling.BOX
    return picture.resize([max(1, round(scale * each)) for each in picture.size], way)


def _shorten(text: str, font: PIL.ImageFont.FreeTypeFont, width: int) -> str:
    """Returns the start of a text that fits, on one line."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    longer = bisect.bisect_right(
        range(len(text)), width, key=lambda length: math.ceil(font.getlength(f"{text[:length]}…"))
    )
    return f"{text[: max(longer - 1, 0)]}…"
