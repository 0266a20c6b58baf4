"""The records of an experiment: a JSON line for each victim, written as it comes."""

import os
from typing import Any

from tfpoison import valid_json
from tfpoison.jobs.run_directory import RunDirectory
from tfpoison.jobs.summary import read_records

FILE = "records.jsonl"
_LOCK = "records"


class Records:
    """The records in a directory that several processes may write to.

    Args:
        directory: the experiment's directory.
    """

    def __init__(self, directory: RunDirectory):
        self._directory = directory
        self._path = directory.path / FILE

    def read(self) -> list[dict[str, Any]]:
        """Returns all records; what a crash has cut off is passed over and told.

        Raises:
            ValueError: `summary.read_records` says when.
        """
        if not self._path.exists():
            return []
        # Not while another process is at a line.
        with self._directory.locked(_LOCK):
            return read_records(self._path)

    def append(self, record: dict[str, Any]) -> None:
        """Writes a record behind the others.

        Raises:
            OSError: it cannot be written, as on a full disk; earlier records stay as they are.
        """
        line = (valid_json.dumps(record) + "\n").encode()
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
            except OSError:
                file.truncate(end)
                raise
