"""The process of a command: how it ends when it is told to, and where its output goes.

Nothing heavy is imported here: all of it holds while TensorFlow is still being imported.
"""

import contextlib
import fcntl
import io
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

PROGRAM = "tfpoison"
_TEMPORARY = "tfpoison_work_"
# A folder that was just made is about to be held.
_SECONDS_TO_LOCK = 5
# What started the process may have had it ignore some of them, as nohup does.
_SIGNALS = [
    number
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if signal.getsignal(number) is not signal.SIG_IGN
]


class Stopped(KeyboardInterrupt):
    """A signal has asked the process to end; libraries take it as they take Ctrl-C."""

    def __init__(self, number: int):
        super().__init__(_describe(number))
        self.number = number


def prepare() -> None:
    """Makes a process that is starting fit for whatever it is connected to.

    Signals end it at once, with a word. Output that nobody reads any more is dropped, and what its
    encoding cannot say is replaced. Where no folder takes temporary files, as on full disks, it
    ends: not even TensorFlow can be imported without one.
    """
    # The number of a closed stream would be given to the next file that is opened.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(number)
    sys.stdout = _robust(sys.stdout, 1, "replace")
    sys.stderr = _robust(sys.stderr, 2, "backslashreplace")
    _handle_signals(_end)
    try:
        tempfile.gettempdir()
    except OSError as error:
        print(f"{PROGRAM}: {error}. Make room there, or set TMPDIR.", file=sys.stderr)
        sys.exit(1)


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Has signals raise `Stopped`, so that temporary files and child processes are cleaned up.

    Temporary files, also those of libraries and of child processes, are in a folder that goes.
    Folders of processes that were killed are removed, and told of.
    """
    _handle_signals(_stop)
    for left in sorted(pathlib.Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*")):
        if not _is_in_use(left):
            shutil.rmtree(left, ignore_errors=True)
            print(f"{PROGRAM}: removed what a killed run had left: {left}", file=sys.stderr)
    folder = tempfile.mkdtemp(prefix=_TEMPORARY)
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        yield
    finally:
        _handle_signals(signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        _handle_signals(signal.SIG_DFL)


def _is_in_use(folder: pathlib.Path) -> bool:
    """Returns whether a process holds a temporary folder, or may be about to, or is another's."""
    try:
        status = folder.stat()
        if status.st_uid != os.getuid() or time.time() - status.st_ctime < _SECONDS_TO_LOCK:
            return True
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def exit_code(error: KeyboardInterrupt) -> int:
    """Returns what shells report for a process that a signal has ended."""
    return 128 + getattr(error, "number", signal.SIGINT)


def _handle_signals(handler: Any) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    # An exception could be lost among those that imports catch.
    os.write(2, f"{PROGRAM}: {_describe(number)}\n".encode())
    os._exit(128 + number)


def _stop(number: int, frame: FrameType | None) -> None:
    # Whoever asks again does not want to wait for the cleaning up.
    _handle_signals(signal.SIG_DFL)
    raise Stopped(number)


def _describe(number: int) -> str:
    name = signal.Signals(number).name
    return "interrupted" if number == signal.SIGINT else f"interrupted by {name}"


class _Unread(io.FileIO):
    """A stream whose reader may leave."""

    def write(self, data: Any) -> int:
        """Writes, or drops what nobody reads."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def _robust(stream: TextIO | None, number: int, errors: str) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(_Unread(number, "wb", closefd=False)),
        encoding="utf-8" if stream is None else stream.encoding,
        errors=errors,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )
