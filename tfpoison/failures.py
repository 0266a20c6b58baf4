"""What a person is told of an error: one sentence, and an exit code for scripts."""

import datetime
import errno
import os
import pathlib
import re
import sys
import traceback
from typing import Any

from tfpoison import process

SYSTEM_ERROR = 1
USAGE_ERROR = 2
UNFORESEEN = 70
# Where the trace of an error that nobody has foreseen is written, in the output directory.
TRACE = "tfpoison_error.txt"

_LONGEST = 400
# TensorFlow tells of files as FILE; MESSAGE OF THE SYSTEM.
_OF_A_FILE = re.compile("; (" + "|".join(re.escape(os.strerror(n)) for n in errno.errorcode) + ")")
# Where in TensorFlow's graph an error was raised.
_PLACES = re.compile(r"\{\{.*?\}\}|\[Op:.*|^.*Iterator::\S+:")


def tell(error: BaseException, folder: pathlib.Path, *, started: bool) -> int:
    """Tells of an error on standard error, and returns the exit code.

    Args:
        folder: where the trace of an error goes that nobody has foreseen.
        started: whether work had begun. Before that every ValueError and TypeError is about what
            the user has asked for, whoever raises it.
    """
    code, sentence = _explain(error, started)
    if code == UNFORESEEN:
        sentence += f" {_write_trace(error, folder)}"
    print(f"{process.PROGRAM}: {sentence}", file=sys.stderr)
    return code


def first_line(error: BaseException) -> str:
    """Returns the first line of an error, without where in TensorFlow's graph it was raised."""
    return _PLACES.sub("", str(error).strip().partition("\n")[0]).strip(" .")


def _explain(error: BaseException, started: bool) -> tuple[int, str]:
    text = " ".join(_PLACES.sub("", str(error)).split())
    if isinstance(error, KeyboardInterrupt):
        return process.exit_code(error), text or "interrupted"
    # TFDS wraps errors of TensorFlow.
    may_be_of_a_file = isinstance(error, RuntimeError) or _is_of_tensorflow(error, "OpError")
    of_a_file = may_be_of_a_file and _OF_A_FILE.search(text)
    if isinstance(error, OSError) or of_a_file:
        # A full disk, a directory that went away: what is written stays, and the job goes on there.
        return SYSTEM_ERROR, text
    if isinstance(error, MemoryError) or _is_of_tensorflow(error, "ResourceExhaustedError"):
        asked_for = re.search(r"(OOM when allocating|Unable to allocate).*?(?= on /|$)", text)
        return SYSTEM_ERROR, (
            "Expected the work to fit into memory. Received: "
            f"{_shorten(asked_for[0] if asked_for else text)}. Lower --batch_size, --width, "
            "--image_size or --train_size, or choose a smaller --network."
        )
    if isinstance(error, ValueError | TypeError) and (not started or _is_raised_by_us(error)):
        return USAGE_ERROR, text
    return UNFORESEEN, f"Unforeseen error, {type(error).__name__}: {_shorten(text)}."


def _is_of_tensorflow(error: BaseException, name: str) -> bool:
    """Returns whether an error is of that class of TensorFlow, which need not be imported."""
    tf: Any = sys.modules.get("tensorflow")
    return hasattr(tf, "errors") and isinstance(error, getattr(tf.errors, name))


def _is_raised_by_us(error: BaseException) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    package = __name__.partition(".")[0]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").startswith(f"{package}.")


def _shorten(text: str) -> str:
    text = text.rstrip(".") or "no more is known"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _write_trace(error: BaseException, folder: pathlib.Path) -> str:
    """Writes the whole trace, and returns a sentence that says where."""
    path = folder / TRACE
    when = datetime.datetime.now().isoformat(timespec="seconds")
    lines = [f"{when} {' '.join(sys.argv)}\n", *traceback.format_exception(error), "\n"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(lines)
    except OSError:
        sys.stderr.writelines(lines)
        return "The full trace stands above."
    return f"The full trace is in {path}."
