"""Checks of arguments that several parts share; each raises before any work starts."""

import dataclasses
import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    above: float = -math.inf,
    maximum: float = math.inf,
    whole: bool = False,
) -> None:
    """Raises unless `value` is a finite number within the bounds; numpy's numbers are numbers too.

    Raises:
        TypeError: `value` is no number (or no integer, where `whole`).
        ValueError: `value` is outside the bounds or not finite.
    """
    expected = "an integer" if whole else "a number"
    is_number = isinstance(value, numbers.Integral if whole else numbers.Real)
    if isinstance(value, bool) or not is_number:
        raise TypeError(f"Expected `{name}` to be {expected}. Received: {name}={value!r}")
    # An integer is finite, and may be too large to be asked.
    finite = isinstance(value, numbers.Integral) or math.isfinite(value)
    if not (finite and minimum <= value <= maximum and value > above):
        bounds = [f"above {above}"] if above > -math.inf else []
        bounds += [f"at least {minimum}"] if minimum > -math.inf else []
        bounds += [f"at most {maximum}" if maximum < math.inf else "finite"]
        allowed = f"{expected}, {' and '.join(bounds)}"
        raise ValueError(f"Expected `{name}` to be {allowed}. Received: {name}={value!r}")


def check_array(
    name: str,
    value: Any,
    dtype: Any,
    shape: tuple[int | None, ...],
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    ascending: bool = False,
    filled: bool = False,
) -> None:
    """Raises unless `value` is an array of that type and shape, of finite values within the bounds.

    Args:
        dtype: its type; `np.integer` and `np.floating` stand for all of their kind.
        shape: its shape; None for an axis of any length.
        ascending: whether each value must be greater than the one before.
        filled: whether it must not be empty.

    Raises:
        TypeError: `value` is no array.
        ValueError: it is another one.
    """
    kinds = {np.integer: "integers", np.floating: "floats"}
    kind = kinds.get(dtype) or str(np.dtype(dtype))
    expected = f"a numpy array of {kind} of shape {shape}".replace("None", "any")
    expected += ", not empty" if filled else ""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"Expected `{name}` to be {expected}. Received: {type(value)}")
    fits = len(shape) == value.ndim and all(
        wanted in (None, length) for wanted, length in zip(shape, value.shape, strict=True)
    )
    # Not `issubdtype` alone: numbers of another byte order are of the same type.
    fits &= np.issubdtype(value.dtype, dtype) if dtype in kinds else value.dtype == dtype
    if not fits or (filled and not value.size):
        raise ValueError(
            f"Expected `{name}` to be {expected}. Received: dtype {value.dtype}, shape "
            f"{value.shape}"
        )
    if kind == "floats" and not np.isfinite(value).all():
        raise ValueError(f"Expected `{name}` to be finite. Received some values that are not.")
    if value.size and not minimum <= value.min() <= value.max() <= maximum:
        raise ValueError(
            f"Expected `{name}` to lie between {minimum} and {maximum}. Received: values from "
            f"{value.min()} to {value.max()}"
        )
    if ascending and (np.diff(value) <= 0).any():
        raise ValueError(f"Expected `{name}` to ascend, each once. Received: {value[:10]} …")


def check_bool(name: str, value: Any) -> None:
    """Raises TypeError unless `value` is True or False: the text "false" would count as True."""
    if not isinstance(value, bool):
        raise TypeError(f"Expected `{name}` to be True or False. Received: {name}={value!r}")


def make_plain(settings: Any) -> None:
    """Turns numpy's numbers among the fields of a dataclass, even a frozen one, into Python's.

    TensorFlow does not take an int64 where a loop counts in int32, and JSON takes none at all.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(settings, field.name, value.item())


def check_name(name: str, value: Any, known: Iterable[str]) -> None:
    """Raises ValueError unless `value`, an "attack", a "network", …, is one of those `known`."""
    known = sorted(known)
    if value in known:
        return
    expected = f"one of: {', '.join(known)}" if known else "none"
    raise ValueError(
        f"Unknown {name}. Expected {expected}. Received: {value!r}.{suggestion(value, known)}"
    )


def suggestion(value: Any, known: Iterable[str]) -> str:
    """Returns a question after the known name that is nearest to a value; nothing if none is."""
    near = difflib.get_close_matches(str(value), known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
