"""Files: written whole or not at all, and read as what anybody may have put there."""

import contextlib
import json
import math
import os
import pathlib
import stat
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, BinaryIO

import numpy as np

Path = str | os.PathLike

# What an archive may unpack to, as a multiple of its size, and the size that always may.
_MOST_UNPACKED = 200
_ALWAYS_UNPACKED = 1 << 20
# The bytes that end an archive; its number of members stands in them.
_ZIP_END = 22
# What readers run into where a file is not as it was written.
_DAMAGE = (
    *(OSError, EOFError, zlib.error),
    *(ValueError, TypeError, KeyError, IndexError, AttributeError),
)
# `numpy.savez` writes these versions; later ones are for structures.
_READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> pathlib.Path:
    """Writes a file whole or not at all, and returns its path; an OSError names it."""
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        # A write that fails does not say of which file it was.
        error.filename = error.filename or str(path)
        raise
    return path


def write_arrays(file: BinaryIO, arrays: dict[str, np.ndarray], *, compress: bool = False) -> None:
    """Writes plain arrays for `read_arrays` into an empty file; equal arrays give equal bytes.

    They are compressed where asked for, unless `read_arrays` would take it for a bomb.
    """
    if compress:
        np.savez_compressed(file, allow_pickle=False, **arrays)
        if _may_unpack(file.tell(), sum(each.nbytes for each in arrays.values())):
            return
        file.seek(0)
        file.truncate()
    np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: Path, *, most: float = math.inf) -> dict[str, np.ndarray]:
    """Reads an archive of up to so many plain arrays; it runs nothing, and is no bomb.

    The archive's checksums tell of every flipped bit in an array.

    Raises:
        ValueError: the file is not there, cannot be read, is damaged, or holds something else.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            # zipfile does not count what it finds in a damaged directory.
            size = file.seek(-_ZIP_END, os.SEEK_END) + _ZIP_END
            count = int.from_bytes(file.read()[10:12], "little")
            if not members or len(members) != count:
                raise ValueError(f"it names {len(members)} arrays where {count} should be")
            if count > most:
                raise ValueError(f"it holds {count} arrays, more than {most}")
            unpacked = sum(member.file_size for member in members.values())
            if not _may_unpack(size, unpacked):
                raise ValueError(
                    f"it unpacks to {unpacked:,} bytes, more than {_MOST_UNPACKED} times its size"
                )
            return {
                name.removesuffix(".npy"): _read_array(archive, member)
                for name, member in members.items()
            }
    except Exception as error:  # What zipfile, its decompressors and NumPy's parser run into.
        raise ValueError(f"{path} is no archive of plain arrays: {error}") from error


def check_archive(path: Path) -> None:
    """Raises ValueError where a zip archive, such as Keras's networks, is damaged."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except Exception as error:  # What zipfile and its decompressors run into.
        raise ValueError(f"{path} is no archive: {error}") from error
    if damaged is not None:
        raise ValueError(f"{damaged!r} in it is damaged")


def _may_unpack(size: int, unpacked: int) -> bool:
    return unpacked <= max(_ALWAYS_UNPACKED, _MOST_UNPACKED * size)


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        if not member.filename.endswith(".npy"):
            raise ValueError(f"{member.filename!r} in it is no array")
        version = np.lib.format.read_magic(file)
        if version not in _READ_HEADER:
            raise ValueError(f"{member.filename!r} in it has the unknown version {version}")
        shape, _, dtype = _READ_HEADER[version](file)
        # NumPy makes room for what the header says before it looks at what there is.
        left = member.file_size - file.tell()
        is_whole = min(shape, default=0) >= 0 and math.prod(shape) * dtype.itemsize == left
        if dtype.hasobject or not is_whole:
            raise ValueError(
                f"{member.filename!r} in it is no plain array: {left} bytes for {dtype} of {shape}"
            )
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    if dtype.kind == "U":
        # NumPy keeps numbers that stand for no letter, and breaks when it is asked for the text.
        letters = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if (letters > sys.maxunicode).any():
            raise ValueError(f"{member.filename!r} in it is no text")
    return array


def read_bytes(path: Path) -> bytes:
    """Returns what stands in a regular file; OSError where there is none that can be read."""
    with open_regular(path) as file:
        return file.read()


def read_json(path: Path) -> Any:
    """Returns the value that a JSON file holds; ValueError where it holds none."""
    return parse_json(read_bytes(path).decode())


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text; raises ValueError where it is none, or nested too deep."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deep") from error


def printable(path: str) -> str:
    """Returns the name of a file as it can be printed and written, even where it is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def open_regular(path: Path) -> IO[bytes]:
    """Opens a regular file to read it; raises OSError where it is something else, or not there."""
    # To open a pipe waits for its other end, and a device may never end.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is no regular file")
    return open(path, "rb")


@contextlib.contextmanager
def read_back(path: Path, remedy: str) -> Iterator[None]:
    """Has an error in what is read within tell of a file that is damaged since it was written.

    Args:
        remedy: what to do, as a sentence: what is lost without the file.

    Raises:
        ValueError: what is done within has failed.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"Expected {path} as it was written. Received a damaged file: {reason}. {remedy}"
        ) from error
