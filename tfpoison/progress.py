"""How far a long work has come, and how long the rest of it will take."""

import sys
import time
from collections.abc import Callable

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_UPDATES = 0.2


class Progress:
    """Tells on standard output how many of the parts of a work are done.

    On a terminal a passing line is written over by the next one. Elsewhere, as in the log of a
    batch system, every line stands, and passing ones come rarely.

    Args:
        parts: what the parts are called: "steps", "victims", …
        done: how many of them were done before, by an earlier run or by other processes.
    """

    def __init__(
        self,
        parts: str,
        total: int,
        *,
        done: int = 0,
        verbose: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._parts, self._total, self._before = parts, total, done
        self._verbose, self._clock = verbose, clock
        self._started = self._told = clock()
        self._shown = 0

    def show(self, done: int, note: str = "") -> None:
        """Tells that so many parts are done, in a passing line; the last one always stands."""
        terminal, now = sys.stdout.isatty(), self._clock()
        pause = _SECONDS_BETWEEN_UPDATES if terminal else _SECONDS_BETWEEN_LINES
        if not self._verbose or (done < self._total and now - self._told < pause):
            return
        self._told = now
        if terminal and done < self._total:
            text = self._describe(done, note)
            print(f"\r{text:<{self._shown}}", end="", flush=True)
            self._shown = len(text)
        else:
            self.tell(done, note)

    def tell(self, done: int, note: str = "") -> None:
        """Tells that so many parts are done, in a line that stands."""
        if self._verbose:
            text = self._describe(done, note)
            start = f"\r{' ' * self._shown}\r" if self._shown else ""
            print(f"{start}{text}", flush=True)
            self._shown = 0

    def _describe(self, done: int, note: str) -> str:
        left = self._total - done
        parts = [note] if note else []
        parts.append(f"{done} of {self._total} {self._parts}")
        if left and done > self._before:
            seconds = (self._clock() - self._started) / (done - self._before) * left
            parts.append(f"about {duration(seconds)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Returns a time as people say it, in two units at most: 40 s, 3 min, 2 h 10 min, 4 d 3 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
