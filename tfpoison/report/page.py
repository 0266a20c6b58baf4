"""Pages that stand alone: one HTML file that holds its tables and figures."""

import base64
import html
import io
import pathlib
from collections.abc import Iterable, Sequence

import PIL.Image
from matplotlib.figure import Figure

_DPI = 120
_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif;
  background: #fff; color: #1a1a1a; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #bbb; text-align: left;
  white-space: nowrap; }
thead th { white-space: normal; vertical-align: bottom; overflow-wrap: break-word; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption, .note { font-size: .9rem; color: #555; }
pre { overflow-x: auto; padding: .8rem; background: #f2f2f2; border-radius: 4px; }
@media (prefers-color-scheme: dark) {
  body { background: #161616; color: #e4e4e4; }
  th, td { border-color: #555; }
  figcaption, .note { color: #aaa; }
  pre { background: #262626; }
}
"""


def png(figure: Figure | PIL.Image.Image) -> bytes:
    """Returns a figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    if isinstance(figure, PIL.Image.Image):
        # Photographs become hardly smaller by more.
        figure.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()
    # The version of matplotlib would make the bytes differ from machine to machine.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def section(heading: str, content: str) -> str:
    """Returns a section under its heading; nothing where there is no content."""
    if not content:
        return ""
    return f"<section>\n<h2>{html.escape(heading)}</h2>\n{content}\n</section>\n"


def configuration(path: pathlib.Path) -> str:
    """Returns a section with the flags of a run; nothing where their file is not there."""
    if not path.is_file():
        return ""
    text = html.escape(path.read_text(errors="replace"))
    return section("Configuration", f"<pre>{text}</pre>")


def note(text: str) -> str:
    """Returns a paragraph of explanation."""
    return f'<p class="note">{html.escape(text)}</p>\n'


def picture(png: bytes, caption: str) -> str:
    """Returns a figure within the page."""
    text = html.escape(caption)
    source = base64.b64encode(png).decode()
    return (
        f'<figure>\n<img src="data:image/png;base64,{source}" alt="{text}">\n'
        f"<figcaption>{text}</figcaption>\n</figure>\n"
    )


def table(cells: Sequence[Sequence[str]]) -> str:
    """Returns a table; the first line is its heading, the first cell of a line names it."""
    heading, *lines = cells
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in heading)
    body = "\n".join(_line(line) for line in lines)
    return (
        '<div class="wide">\n<table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
    )


def _line(line: Iterable[str]) -> str:
    name, *values = map(html.escape, line)
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{v}</td>" for v in values)}</tr>'


def document(title: str, sections: Iterable[str]) -> str:
    """Returns the page as HTML."""
    text = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{text}</h1>\n{''.join(sections)}</main>\n</body>\n</html>\n"
    )
