"""The published set-ups of the poisoning benchmark (arXiv 2006.12557), read as threats."""

import dataclasses
import io
import numbers
import pathlib
import pickle
import pickletools
from typing import Any

import numpy as np

from tfpoison import files
from tfpoison.checks import check_number


def _empty_array(*_: Any) -> np.ndarray:
    """Returns what a pickle fills with an array; NumPy's own makes any size that it is told."""
    return np.zeros(0, np.int8)


# What NumPy's arrays and numbers are made of in a pickle; nothing else is ever looked up.
_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY = {("numpy", "dtype"), *((core, "scalar") for core in _CORES)}
_REPLACED = {
    **{(core, "_reconstruct"): _empty_array for core in _CORES},
    # It is named beside `_reconstruct`, and never called.
    ("numpy", "ndarray"): "ndarray",
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """One published set-up; indices count the original order of the data set.

    Attributes:
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
        if (module, name) in _REPLACED:
            return _REPLACED[module, name]
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"{module}.{name} is neither built-in nor NumPy's")
        return super().find_class(module, name)


def read(path: str | pathlib.Path) -> tuple[Setup, ...]:
    """Reads a file of set-ups without running code that it may hold.

    Raises:
        ValueError: there is no such file, or it holds something else, or nothing.
    """
    try:
        content = files.read_bytes(path)
    except OSError as error:
        raise ValueError(f"Expected a file of set-ups. There is none to read: {path}") from error
    try:
        _check_memo(content)
        entries = _RestrictedUnpickler(io.BytesIO(content)).load()
        if not isinstance(entries, list | tuple) or not entries:
            raise ValueError("it is no list, or an empty one")
        return tuple(_parse(entry) for entry in entries)
    except Exception as error:  # Broken pickles raise whatever their opcodes run into.
        raise ValueError(
            "Expected a pickled list of set-ups of the poisoning benchmark, of built-in types and "
            f"NumPy arrays alone. Received something else in {path}: {error}"
        ) from error


def _check_memo(content: bytes) -> None:
    """Raises ValueError where a pickle names a place in its memory that it cannot have filled."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name.endswith("PUT") and int(argument or 0) > len(content):
            raise ValueError(f"{opcode.name} {argument} in a pickle of {len(content)} bytes")


def _parse(entry: Any) -> Setup:
    indices = entry["base indices"]
    if not isinstance(indices, list | tuple | np.ndarray) or not len(indices):
        raise ValueError("'base indices' are no list of integers, or an empty one")
    return Setup(
        target_class=_index("target class", entry["target class"]),
        target_index=_index("target index", entry["target index"]),
        base_class=_index("base class", entry["base class"]),
        base_indices=tuple(_index("base indices", each) for each in indices),
    )


def _index(name: str, value: Any) -> int:
    # A list of lists that stand in it twice would never be told to its end.
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{name!r} holds a {type(value).__name__} where an integer should be")
    check_number(name, value, minimum=0, maximum=2**63 - 1, whole=True)
    return int(value)
