"""Flagfiles: found by path, or by name among those that come with the package."""

import pathlib
from collections.abc import Iterator, Sequence

import tfpoison
from tfpoison.checks import suggestion
from tfpoison.runs.flag_lines import read_flag_lines

_PACKAGE = pathlib.Path(tfpoison.__file__).parent
_SUFFIX = ".flags"


def folder() -> pathlib.Path:
    """Returns the folder of the flagfiles that come with the package."""
    installed = _PACKAGE / "flags"
    return installed if installed.is_dir() else _PACKAGE.parent / "flags"


def names() -> list[str]:
    """Returns the names of the flagfiles that come with the package."""
    return sorted(str(path.relative_to(folder())) for path in folder().rglob(f"*{_SUFFIX}"))


def expand(arguments: Sequence[str], within: tuple[pathlib.Path, ...] = ()) -> list[str]:
    """Replaces every --flagfile=FILE by the lines of the file, files within files included.

    Args:
        arguments: the command line, or the lines of a flagfile.
        within: the flagfiles that these lines stand in, the innermost last.

    Raises:
        ValueError: a file cannot be read, or includes itself.
    """
    expanded: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, equals, path = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        path = path if equals else next(left, "")
        file = next((each for each in _places(path, within) if each.is_file()), None)
        if file is None:
            raise ValueError(
                f"Expected --flagfile to name a file. Received: {path or '(nothing)'}."
                f"{suggestion(path, names())}"
            )
        file = file.resolve()
        if file in within:
            raise ValueError(f"Expected no flagfile to include itself. Received: {file}")
        expanded += expand(read_flag_lines(file), (*within, file))
    return expanded


def _places(path: str, within: tuple[pathlib.Path, ...]) -> Iterator[pathlib.Path]:
    """Yields where a flagfile may be: beside the one that includes it, here, in the package."""
    if within:
        yield within[-1].parent / path
    yield pathlib.Path(path)
    # As it is written in a checkout, or as the package lists it.
    yield folder().parent / path
    yield folder() / path
