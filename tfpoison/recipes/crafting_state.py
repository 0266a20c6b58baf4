"""Where the crafting of poisons stands, and the file that an interrupted one goes on from."""

import dataclasses
import math
import pathlib
from typing import Any, Self

import numpy as np

from tfpoison import files, valid_json

# Of TensorFlow where it was crafted, of NumPy where it was read back.
Array = Any

_LISTS = ("deltas", "best", "retrained_on")
_NUMBERS = ("restart", "step", "history", "retrained_at")


@dataclasses.dataclass
class State:
    """Where a crafting is; all of it is saved."""

    restart: int = 0
    step: int = 0
    deltas: list[Array] = dataclasses.field(default_factory=list)
    moments: list[list[Array]] = dataclasses.field(default_factory=list)
    best: list[Array] = dataclasses.field(default_factory=list)
    history: list[float] = dataclasses.field(default_factory=list)
    retrained_on: list[Array] = dataclasses.field(default_factory=list)
    retrained_at: int = 0

    def end_restart(self, value: float) -> None:
        """Keeps what was crafted if it is the best so far, and makes ready for the next start."""
        # Nothing would ever be smaller than NaN.
        earlier = [each for each in self.history if math.isfinite(each)]
        if math.isfinite(value) and value < min(earlier, default=math.inf):
            self.best = self.deltas
        self.history.append(value)
        self.restart, self.step, self.retrained_at = self.restart + 1, 0, 0
        self.deltas, self.moments, self.retrained_on = [], [], []

    def save(self, path: pathlib.Path) -> None:
        """Writes all of it into a file, whole or not at all."""
        arrays = {
            f"{name}_{number}": each
            for name in _LISTS
            for number, each in enumerate(getattr(self, name))
        }
        for number, moments in enumerate(self.moments):
            arrays |= {f"moments_{number}_{which}": each for which, each in enumerate(moments)}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        arrays["numbers"] = np.array(valid_json.dumps(numbers))
        files.write_whole(path, lambda file: files.write_arrays(file, arrays))

    @classmethod
    def load(cls, path: pathlib.Path | None) -> Self | None:
        """Returns what `save` wrote; None where there is nothing."""
        if path is None or not path.exists():
            return None
        with files.read_back(path, "Remove it: the brewing starts again."):
            arrays = files.read_arrays(path)
            state = cls(**files.parse_json(str(arrays.pop("numbers"))))
            # JSON has no NaN, as the objective of a restart may be.
            state.history = [math.nan if each is None else each for each in state.history]
        for name in _LISTS:
            setattr(state, name, _numbered(arrays, name))
        state.moments = [_numbered(arrays, f"moments_{n}") for n in range(len(state.deltas))]
        return state


def _numbered(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    while f"{name}_{len(found)}" in arrays:
        found.append(arrays[f"{name}_{len(found)}"])
    return found
