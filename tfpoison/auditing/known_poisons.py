"""Lists of which images of a data set are known to be poisons."""

import re

import numpy as np

from tfpoison import csv_files


def read(path: str) -> tuple[str, list[str]]:
    """Returns the name of the column, `id` or `file`, and its cells; ValueError if it is none."""
    lines = csv_files.read(path, "known poisons")
    heading = lines[0] if lines else []
    column = next((name for name in ("file", "id") if name in heading), None)
    if column is None:
        raise ValueError(
            "Expected a CSV file of known poisons with a column `id` or `file`. Received: "
            f"{path}, with {','.join(heading) or 'nothing'}"
        )
    # A line that is cut off has nothing there.
    cells = [(line + [""] * len(heading))[heading.index(column)] for line in lines[1:]]
    what, form = {"id": ("position of an image", "[0-9]+"), "file": ("name of a file", ".+")}[
        column
    ]
    strange = next((cell for cell in cells if not re.fullmatch(form, cell, re.DOTALL)), None)
    if strange is not None or not cells:
        raise ValueError(
            f"Expected the {what} in the column `{column}` of every line. Received: {path}, with "
            f"{'no lines' if strange is None else repr(strange[:80])}"
        )
    return column, cells


def find(path: str, size: int, files: list[str] | None) -> np.ndarray:
    """Returns which examples of a split of that size, with these files, are poisons, bool (size,).

    Raises:
        ValueError: it is no such file, or names examples that are not in the split.
    """
    column, cells = read(path)
    if column == "id":
        own = [str(each) for each in range(size)]
        wanted = {cell.lstrip("0") or "0" for cell in cells}
    elif files is None:
        raise ValueError(
            "Expected known poisons by `id` for a data set whose images are not in files of their "
            f"own. Received: {path}, with files"
        )
    else:
        own, known = files, set(files)
        wanted = {_own_name(cell, known) for cell in cells}
    missing = sorted(wanted.difference(own))
    if missing:
        raise ValueError(
            f"Expected known poisons that are in the training split. Received: {path}; "
            f"{len(missing)} of its {len(wanted)} are not, such as {missing[0][:80]!r}, where the "
            f"split has {own[0]!r}. Take them off the list."
        )
    return np.isin(own, sorted(wanted))


def _own_name(path: str, known: set[str]) -> str:
    """Returns the end of a path by which a file is known: how a list names its root is up to it."""
    parts = path.split("/")
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((each for each in ends if each in known), path)
