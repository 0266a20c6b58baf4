"""The lines of flagfiles. Nothing heavy is imported."""

import itertools
import pathlib


def flag_lines(text: str) -> list[str]:
    """Returns the lines of a flagfile that hold something."""
    # Other characters that end lines elsewhere may stand in the name of a file.
    lines = [line.strip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith("#")]


def read_flag_lines(path: pathlib.Path) -> list[str]:
    """Returns the lines of a flagfile that hold something; ValueError where it is not in UTF-8."""
    try:
        return flag_lines(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected a flagfile in UTF-8. Received: {path}, {error}") from error


def comment(text: str) -> str:
    """Returns the comment at the head of a flagfile."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    return "\n".join(line.lstrip("# ") for line in lines)
