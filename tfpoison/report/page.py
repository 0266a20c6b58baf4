"""Pages that stand alone: one HTML file that holds its tables and pictures."""

import base64
import pathlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import markupsafe

from tfpoison.runs.run_directory import CONFIGURATION

# Bytes of a page, and what of them is left to what is no picture.
MOST_BYTES = 2_000_000
_TEXT_BYTES = 500_000
_TYPES = {b"<svg": "svg+xml", b"\xff\xd8": "jpeg", b"\x89PNG": "png"}


class Picture(NamedTuple):
    """A picture file, what stands under it, and what is read out in its place: else the caption."""

    content: bytes
    caption: str
    alt: str = ""

    @property
    def source(self) -> str:
        """The file as a link that holds it."""
        kind = next(name for start, name in _TYPES.items() if self.content.startswith(start))
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


def render(template: str, directory: pathlib.Path | None, **content: Any) -> str:
    """Returns a page as HTML, of `MOST_BYTES` at most: pictures beyond that are only counted.

    Args:
        template: the name of a file in `templates`.
        directory: whose flags it shows, where it has some.
        content: what the template asks for: a title, answers that come first, and more.
    """
    path = None if directory is None else directory / CONFIGURATION
    flags = path.read_text(errors="replace") if path is not None and path.is_file() else ""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfpoison.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    left = MOST_BYTES - _TEXT_BYTES

    def fitting(pictures: Sequence[Picture]) -> list[Picture]:
        nonlocal left
        shown = []
        for picture in pictures:
            if len(picture.source) <= left:
                left -= len(picture.source)
                shown.append(picture)
        return shown

    environment.filters |= {"breakable": _breakable, "fitting": fitting}
    return environment.get_template(template).render(configuration=flags, **content)


def _breakable(text: str) -> markupsafe.Markup:
    """Returns a text whose long names may go on in the next line."""
    return markupsafe.Markup("<wbr>").join(re.split(r"(?<=[_(;+/])", text))
