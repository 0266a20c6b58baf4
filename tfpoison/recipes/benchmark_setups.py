"""The published set-ups of the poisoning benchmark (arXiv 2006.12557), read as threats."""

import dataclasses
import io
import pathlib
import pickle
from typing import Any

import numpy as np

# What NumPy's arrays and numbers are made of in a pickle; nothing else is ever looked up.
_NUMPY = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar",)),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """One published set-up; indices count the original order of the data set.

    Attributes:
        target_class: the target's class.
        target_index: the target, in the test split.
        base_class: the class of the poisons, which is the adversarial class.
        base_indices: the poisons, in the training split.
    """

    target_class: int
    target_index: int
    base_class: int
    base_indices: tuple[int, ...]

    def threat(self, *, original_order: bool) -> dict[str, Any]:
        """Returns arguments of `ThreatSettings`.

        Args:
            original_order: whether the data lie in their original order, so that the indices name
                images. Otherwise the classes and the number of poisons are taken over, and images
                of these classes are drawn.
        """
        arguments: dict[str, Any] = {
            "target_class": self.target_class,
            "adversarial_class": self.base_class,
            "budget": float(len(self.base_indices)),
        }
        if original_order:
            arguments["target_ids"] = (self.target_index,)
            arguments["poison_ids"] = self.base_indices
        return arguments


class _RestrictedUnpickler(pickle.Unpickler):
    """Reads built-in types and NumPy arrays; a pickle can name any function to be run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"{module}.{name} is neither built-in nor NumPy's")
        return super().find_class(module, name)


def read(path: str | pathlib.Path) -> tuple[Setup, ...]:
    """Reads a file of set-ups without running code that it may hold.

    Raises:
        ValueError: there is no such file, or it holds something else.
    """
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"Expected a file of set-ups. There is none to read: {path}") from error
    try:
        entries = _RestrictedUnpickler(io.BytesIO(content)).load()
        return tuple(_parse(entry) for entry in entries)
    except Exception as error:  # Broken pickles raise whatever their opcodes run into.
        raise ValueError(
            "Expected a pickled list of set-ups of the poisoning benchmark, of built-in types and "
            f"NumPy arrays alone. Received something else in {path}: {error}"
        ) from error


def _parse(entry: Any) -> Setup:
    indices = np.asarray(entry["base indices"])
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise ValueError("'base indices' are no list of integers")
    return Setup(
        target_class=int(entry["target class"]),
        target_index=int(entry["target index"]),
        base_class=int(entry["base class"]),
        base_indices=tuple(int(each) for each in indices),
    )
