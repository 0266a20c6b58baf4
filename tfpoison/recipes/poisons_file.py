"""Files of poisons: NumPy archives of plain arrays with a description; reading runs no code."""

import hashlib
import os
import pathlib
from typing import Any

import numpy as np

from tfpoison import files, valid_json

FORMAT = "tfpoison poisons 2"
# The poisons' five, targets, sources, covers, the trigger, the description and the checksum.
_MOST_ARRAYS = 11

Parts = tuple[dict[str, np.ndarray], dict[str, Any]]


def write(path: str | os.PathLike, parts: Parts) -> pathlib.Path:
    """Writes arrays and a description, whole or not at all; equal parts give equal bytes."""
    arrays, description = parts
    described = valid_json.dumps({"format": FORMAT} | description, sort_keys=True)
    arrays = arrays | {"description": np.array(described)}
    arrays["checksum"] = np.array(checksum(arrays))
    return files.write_whole(path, lambda file: files.write_arrays(file, arrays, compress=True))


def read(path: str | os.PathLike) -> Parts:
    """Returns the arrays and the description in a file that `write` wrote.

    Raises:
        ValueError: the file is missing, damaged, changed, of another format, or something else.
    """
    if not os.path.exists(path):
        raise ValueError(f"Expected a file of poisons. There is none: {path}")
    try:
        arrays = files.read_arrays(path, most=_MOST_ARRAYS)
    except ValueError as error:
        raise ValueError(
            f"Expected a file of poisons. Received one that is damaged or something else: {error}"
        ) from error
    texts = [arrays.get(name, np.zeros(0)) for name in ("description", "checksum")]
    if any(each.dtype.kind != "U" or each.ndim for each in texts):
        raise ValueError(f"Expected a file of poisons. Received something else: {path}")
    known = str(arrays.pop("checksum"))
    if checksum(arrays) != known:
        raise ValueError(f"Expected a file of poisons as it was written. {path} was changed.")
    description = _parse(str(arrays.pop("description")), path)
    received = description.pop("format", None)
    if received != FORMAT:
        raise ValueError(
            f"Expected a file of the format {FORMAT!r}. Received {received!r} in {path}: poisons "
            "of another version are brewed anew."
        )
    return arrays, description


def checksum(arrays: dict[str, np.ndarray]) -> str:
    """Returns a digest of arrays: names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _parse(text: str, path: str | os.PathLike) -> dict[str, Any]:
    try:
        description = files.parse_json(text)
    except ValueError:
        description = None
    if not isinstance(description, dict):
        raise ValueError(
            "Expected a file of poisons with a description, as JSON with names. Received: "
            f"{path}, with {text[:80]!r}"
        )
    return description
