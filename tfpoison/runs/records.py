"""The records of an experiment: a JSON line for each victim and adversary, as it comes.

Each line says by which version of the schema it is written; the first one did not say so.
"""

import gzip
import os
import pathlib

from tfpoison import files, valid_json
from tfpoison.notes import tell_once
from tfpoison.runs.record_checks import Record, check_record, is_whole, outcome_of
from tfpoison.runs.run_directory import RunDirectory

FILE = "records.jsonl"
# Of a finished experiment that is kept.
PACKED = f"{FILE}.gz"
SCHEMA_VERSION = 1
_VERSION = "schema_version"
_LOCK = "records"
_REMEDY = "Mend or remove the line: a grid that goes on trains its victim again."


class Records:
    """The records in an experiment's directory, which several processes may write to."""

    def __init__(self, directory: RunDirectory):
        self._directory = directory
        self._path = directory.path / FILE

    def read(self) -> list[Record]:
        """Returns all records; what a crash has cut off is passed over and told.

        Raises:
            ValueError: the records are packed, or as in `read_records`.
        """
        packed = self._path.with_name(PACKED)
        if packed.exists():
            raise ValueError(
                f"Expected a grid that goes on to have its records in {FILE}. Received: {packed}. "
                "Unpack it by gunzip."
            )
        if not self._path.exists():
            return []
        # Not while another process is at a line.
        with self._directory.locked(_LOCK):
            return read_records(self._path)

    def append(self, record: Record) -> None:
        """Writes a record behind the others, which stay as they are where that raises OSError."""
        line = (valid_json.dumps({_VERSION: SCHEMA_VERSION} | record) + "\n").encode()
        with self._directory.locked(_LOCK), open(self._path, "ab+") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    # What a crash left of a line must not spoil this one.
                    line = b"\n" + line
            try:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                file.truncate(end)
                error.filename = str(self._path)
                raise


def find_records(directory: pathlib.Path) -> pathlib.Path | None:
    """Returns the file of an experiment's records, packed or not; None where there is none."""
    paths = (directory / name for name in (FILE, PACKED))
    return next((path for path in paths if path.is_file()), None)


def read_records(path: str | os.PathLike) -> list[Record]:
    """Returns the records of a JSON-lines file; what is no whole record is passed over and told.

    A file that ends in .gz is unpacked.

    Raises:
        ValueError: the file cannot be read, a record is of a newer version or not as an experiment
            writes it, or two are about one victim.
    """
    with files.read_back(path, "Remove it: all victims are trained again."):
        content = files.read_bytes(path)
        if pathlib.Path(path).suffix == ".gz":
            content = gzip.decompress(content)
        # A crash can cut a line within a character.
        lines = content.decode("utf-8-sig", "replace").split("\n")
    records: dict[tuple, tuple[int, Record]] = {}
    torn = []
    for number, line in enumerate(lines, 1):
        record = _parse_record(line, f"line {number} of {path}")
        if record is None:
            torn += [number] if line else []
            continue
        with files.read_back(f"line {number} of {path}", _REMEDY):
            check_record(record)
            outcome = outcome_of(record)
            if outcome in records:
                raise ValueError(f"line {records[outcome][0]} is about the same victim")
        records[outcome] = number, record
    if torn:
        tell_once(
            f"{path}: passed over what is no whole record, as a crash leaves it, in line(s) "
            f"{', '.join(map(str, torn[:10]))}. A grid that goes on trains these victims again."
        )
    return [record for _, record in records.values()]


def _parse_record(line: str, where: str) -> Record | None:
    """Returns a line's record; None where it was cut off. ValueError: it is of another version."""
    try:
        record = files.parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    version = record.pop(_VERSION, 1)
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"Expected records of version {SCHEMA_VERSION} of the schema. Received: version "
            f"{version!r} in {where}. Read it with the version of tfpoison that wrote it, or with "
            "a newer one."
        )
    return record if is_whole(record) else None
