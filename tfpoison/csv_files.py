"""CSV files: none of their cells starts a formula, and what spreadsheets make of them is read."""

import csv
import io
import numbers
import os
import re
import types
from collections.abc import Iterable

from tfpoison import files

# What spreadsheets take a cell for a formula by, in either width of East Asian letters.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_NEGATIVE_NUMBER = r"-[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?"
_DELIMITERS = ",;\t"


def text(rows: Iterable[Iterable[object]]) -> str:
    """Returns rows as CSV, for `read`: with an apostrophe before what would start a formula."""
    lines: list[str] = []
    # With this end of a line, carriage returns in cells are put between quotes.
    writer = csv.writer(types.SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerows(map(_cell, row) for row in rows)
    return "".join(f"{line[:-2]}\n" for line in lines)


def read(path: str | os.PathLike, what: str) -> list[list[str]]:
    """Returns the rows of a CSV file: with a byte-order mark or without, with , ; or tabs between.

    Raises:
        ValueError: there is no such file, or it is not `what` it should be.
    """
    try:
        content = files.read_bytes(path).decode("utf-8-sig")
        if "\0" in content:
            raise ValueError("it is no text in UTF-8")
        first = content.partition("\n")[0]
        reader = csv.reader(
            io.StringIO(content, newline=""), delimiter=max(_DELIMITERS, key=first.count)
        )
        return [[_without_apostrophe(cell) for cell in row] for row in reader if row]
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"Expected {what} as a CSV file. {path}: {error}") from error


def _cell(value: object) -> str:
    cell = "" if value is None else str(value)
    if not re.match(_FORMULA, cell) or isinstance(value, numbers.Number):
        return cell
    return cell if re.fullmatch(_NEGATIVE_NUMBER, cell) else f"'{cell}"


def _without_apostrophe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and re.match(_FORMULA, cell) else cell
