"""The directory of one run: whose it is, what stands in it, who is at work in it."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import threading
from collections.abc import Collection, Iterator
from typing import IO, Any

import numpy as np

from tfpoison import files, valid_json
from tfpoison.failures import TRACE
from tfpoison.notes import tell_once
from tfpoison.runs.flag_lines import flag_lines

CONFIGURATION = "config.flags"
# Of the draws in `randomness`; directories record it.
SCHEME = 2
_DRAWS = f"# Random draws of scheme {SCHEME}"
# The folder of work in progress.
WORK = "work"
_LOCK = ".lock"
_LOCKS = ".locks"
# How long a wait for another process is not told of.
_PATIENCE_SECONDS = 1.0
TENSORBOARD = "tensorboard"
# What a run leaves that has computed nothing: the second where it has a configuration.
_WITHOUT_CONFIGURATION = (_LOCK, _LOCKS, TRACE)
_WITHOUT_RESULTS = (*_WITHOUT_CONFIGURATION, CONFIGURATION, TENSORBOARD)
_PARTIAL = re.compile(r"\..*\.partial")


@dataclasses.dataclass(eq=False)
class RunDirectory:
    """An output directory that belongs to one configuration, once there is a result in it.

    Attributes:
        path: the directory; made when a run starts.
        flags: the flags that change the results, name by name, as they stand in a flagfile.
        free: flags among them that may change from run to run. The configuration keeps the largest
            number, and what any of the runs has named in a list.
        latest: flags among them that may change as well, of which the configuration keeps the last.
        later: flags that may be set by some runs and not by others, but not otherwise; once one has
            set them, the configuration keeps them.
        files: flags that name a file to read; the configuration holds its checksum.
    """

    path: pathlib.Path
    flags: dict[str, str]
    _: dataclasses.KW_ONLY
    free: Collection[str] = ()
    latest: Collection[str] = ()
    later: Collection[str] = ()
    files: Collection[str] = ()

    def check(self) -> None:
        """Raises ValueError where the directory is not free for this configuration."""
        path = self.path.absolute()
        existing = next(each for each in (path, *path.parents) if os.path.lexists(each))
        if not existing.is_dir():
            kind = "a file" if existing.exists() else "a link to nothing"
            raise ValueError(f"Expected output_dir to be a directory. Received {kind}: {existing}")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ValueError(
                "Expected output_dir to be a directory that can be written to. Received: "
                f"{self.path}, and {existing} cannot"
            )
        self._check_flags()
        if self._holds_results():
            self._check_configuration()

    def _check_flags(self) -> None:
        """Raises ValueError where a flag would not come back from the configuration."""
        for name, value in self.flags.items():
            line = f"--{name}={value}"
            if flag_lines(line) != [line]:
                raise ValueError(
                    f"Expected --{name} without line breaks, and without blanks at its ends: "
                    f"{CONFIGURATION} has a line for each flag. Received: {value!r}"
                )

    def _holds_results(self) -> bool:
        """Returns whether there is more than runs leave that have computed nothing."""
        ours = (self.path / CONFIGURATION).exists()
        known = _WITHOUT_RESULTS if ours else _WITHOUT_CONFIGURATION
        return any(
            not path.is_dir() and path.relative_to(self.path).parts[0] not in known
            for path in self.path.rglob("*")
            if not _PARTIAL.fullmatch(path.name)
        )

    def _check_configuration(self) -> None:
        """Raises ValueError where the directory belongs to another configuration, or to nobody."""
        configuration = self.path / CONFIGURATION
        if not configuration.exists():
            raise ValueError(
                "Expected output_dir to be new, empty or of an earlier run with the same flags. "
                f"Received: {self.path}, which holds other files and no {CONFIGURATION}"
            )
        self._compare(read_flags(configuration))
        self._compare_facts(_read_configuration(configuration).split("\n"))

    def _compare(self, theirs: dict[str, str]) -> None:
        names = sorted(self.flags.keys() | theirs.keys())
        of_both = self.flags.keys() & theirs.keys()
        changeable = {*self.free, *self.latest, *(set(self.later) - of_both)}
        differing = [
            name
            for name in names
            if name not in changeable and self.flags.get(name) != theirs.get(name)
        ]
        if differing:
            unset = "(unset)"
            both = ", ".join(
                f"--{name}={theirs.get(name, unset)} there, {self.flags.get(name, unset)} now"
                for name in differing
            )
            raise ValueError(
                f"Expected output_dir {self.path} to belong to these flags. Received other ones: "
                f"{both}. Choose another --output_dir, or run with the flags of {CONFIGURATION} "
                "(which are to be written anew where that file was damaged)."
            )

    def _compare_facts(self, theirs: list[str]) -> None:
        if _DRAWS not in theirs:
            raise ValueError(
                f"Expected output_dir {self.path} to be of a version that draws the same random "
                "numbers as this one. Received one of another version. Go on with that version, or "
                f"start again with --flagfile={self.path / CONFIGURATION} and another --output_dir."
            )
        for name, line in self._checksums().items():
            if name not in self.latest and line not in theirs:
                raise ValueError(
                    f"Expected output_dir {self.path} to be started with these files. Received: "
                    f"{line.removeprefix('# ')}, which is another one. Choose another --output_dir."
                )

    def _checksums(self) -> dict[str, str]:
        """Returns a line for each file there is, by its flag; a job refuses others itself."""
        named = self.flags.keys() & set(self.files)
        paths = {name: pathlib.Path(self.flags[name]) for name in named}
        return {
            name: f"# --{name} has the SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
            for name, path in sorted(paths.items())
            if path.is_file()
        }

    @contextlib.contextmanager
    def occupied(self) -> Iterator[None]:
        """Holds the directory for this process, and writes the configuration into it.

        Raises:
            ValueError: another process is at work in it, or it is not free for this configuration.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _LOCK, "a+") as lock:
            if not _try_flock(lock, fcntl.LOCK_EX):
                raise ValueError(
                    f"Expected output_dir {self.path} for this run alone. Received: another "
                    "process is at work in it."
                )
            self.check()
            self._write_configuration(extends=self._holds_results())
            try:
                yield
            except (ValueError, TypeError):
                if not self._holds_results():  # Refused before anything was computed.
                    (self.path / CONFIGURATION).unlink()
                raise

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Writes the configuration, and holds the directory together with other processes.

        Raises:
            ValueError: it is not free for this configuration, or one process has it for itself.
        """
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _LOCK, "a+") as lock:
            with self.locked("configuration"):
                # Another process may have come first since, and be about to have results.
                belongs = not _try_flock(lock, fcntl.LOCK_EX) or self._holds_results()
                if not _try_flock(lock, fcntl.LOCK_SH):
                    raise ValueError(
                        f"Expected output_dir {self.path} to be shared. Received: a process has it "
                        "for itself."
                    )
                if belongs:
                    self._check_configuration()
                self._write_configuration(extends=belongs)
            yield

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """Waits until no other process does what goes by this name, and yields True.

        The lock falls with the process, however it ends, and holds over machines where the file
        system's locks do. A wait that is not over soon is told.
        """
        with self._open_lock(name) as lock:
            if not _try_flock(lock, fcntl.LOCK_EX):
                told = f"waiting for another process to be done with {name} in {self.path}"
                patience = threading.Timer(_PATIENCE_SECONDS, tell_once, [told])
                patience.daemon = True
                patience.start()
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                finally:
                    patience.cancel()
            yield True

    @contextlib.contextmanager
    def try_lock(self, name: str) -> Iterator[bool]:
        """Yields whether this process may do what goes by this name: not while another does it."""
        with self._open_lock(name) as lock:
            yield _try_flock(lock, fcntl.LOCK_EX)

    def _open_lock(self, name: str) -> IO[str]:
        folder = self.path / _LOCKS
        folder.mkdir(exist_ok=True)
        return open(folder / f"{name}.lock", "a+")

    def folder(self, name: str) -> "RunDirectory":
        """Returns a directory within, made if it is not there."""
        inner = RunDirectory(self.path / name, self.flags)
        inner.path.mkdir(parents=True, exist_ok=True)
        return inner

    def discard(self, name: str) -> None:
        """Removes a directory of work in progress, once what came of the work is on disk."""
        folder = self.path / name
        # First out of the way as a whole: what a killed removal leaves would be gone on from.
        removed = folder.with_name(f".{name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        # Another process may have been first.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def _write_configuration(self, *, extends: bool) -> None:
        theirs = read_flags(self.path / CONFIGURATION) if extends else {}
        kept = {name: theirs[name] for name in theirs.keys() & set(self.later)}
        flags = (kept | self.flags) | {
            name: _union(theirs[name], self.flags[name])
            for name in theirs.keys() & self.flags.keys() & set(self.free)
        }
        lines = [f"--{name}={value}" for name, value in sorted(flags.items())]
        lines += [_DRAWS, *self._checksums().values()]
        self.write_text(CONFIGURATION, "\n".join(lines) + "\n")

    @contextlib.contextmanager
    def arrays(self, name: str, remedy: str) -> Iterator[dict[str, np.ndarray] | None]:
        """Yields the arrays of a file; None where there is no such file.

        Raises:
            ValueError: the file is damaged, or not as what is done within expects it.
        """
        if not (self.path / name).exists():
            yield None
            return
        with files.read_back(self.path / name, remedy):
            yield files.read_arrays(self.path / name)

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> pathlib.Path:
        """Writes what `arrays` reads, whole or not at all, and returns the file's path."""
        return files.write_whole(self.path / name, lambda file: files.write_arrays(file, arrays))

    def write_bytes(self, name: str, content: bytes) -> pathlib.Path:
        """Writes a file whole or not at all, and returns its path."""
        return files.write_whole(self.path / name, lambda file: file.write(content))

    def write_network(self, name: str, network: Any) -> pathlib.Path:
        """Writes a network as Keras saves it, whole or not at all, and returns the file's path."""
        # Keras tells by the name's end how to save.
        partial = self.path / f".partial-{name}"
        network.save(partial)
        return partial.replace(self.path / name)

    def write_text(self, name: str, text: str) -> pathlib.Path:
        """Writes a text file as `write_bytes` does."""
        return self.write_bytes(name, text.encode())

    def write_json(self, name: str, value: Any) -> pathlib.Path:
        """Writes a JSON file as `write_bytes` does."""
        return self.write_text(name, valid_json.dumps(value, indent=2) + "\n")


def file_name(*parts: object) -> str:
    """Returns a name for files of what goes by these parts, fractions such as 16/255 included."""
    return "-".join(map(str, parts)).replace("/", "_of_")


def _try_flock(lock: IO[str], kind: int) -> bool:
    """Returns whether a lock could be had; raises OSError where the file system has no locks."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _union(theirs: str, ours: str) -> str:
    """Returns the larger number, or the entries of both lists in the order they came."""
    if theirs.isdigit() and ours.isdigit():
        return str(max(int(theirs), int(ours)))
    entries = dict.fromkeys([*theirs.split(","), *ours.split(",")])
    return ",".join(entry for entry in entries if entry)


def read_flags(path: pathlib.Path) -> dict[str, str]:
    """Returns the flags of a flagfile, name by name."""
    lines = flag_lines(_read_configuration(path))
    pairs = (line[2:].partition("=") for line in lines if line.startswith("--"))
    return {name: value for name, _, value in pairs}


def _read_configuration(path: pathlib.Path) -> str:
    remedy = (
        "Write it anew, a line --NAME=VALUE for each flag of the run, or choose another "
        "--output_dir."
    )
    with files.read_back(path, remedy):
        # Some editors put a mark at the start, and end lines in their own way.
        text = files.read_bytes(path).decode("utf-8-sig").replace("\r\n", "\n")
        if not text or "\0" in text:
            raise ValueError("it holds no lines --NAME=VALUE")
        return text
