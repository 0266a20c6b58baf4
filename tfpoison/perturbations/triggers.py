"""Triggers as the parts of a file that they are kept in."""

from typing import Any

import numpy as np

from tfpoison.perturbations.table import TRIGGERS
from tfpoison.perturbations.trigger import Trigger

# The first kind that files held: they do not name it.
_UNNAMED = "patch"

Arrays = dict[str, np.ndarray]


def to_parts(trigger: Trigger) -> tuple[Arrays, dict[str, Any]]:
    """Returns a trigger as an array, where it has a pattern, and what JSON can hold."""
    plain = {name: getattr(trigger, name) for name in trigger.settings()}
    arrays = {"trigger": plain.pop("pattern")} if "pattern" in plain else {}
    name = next(name for name in TRIGGERS if TRIGGERS[name] is type(trigger))
    return arrays, plain if name == _UNNAMED else plain | {"name": name}


def from_parts(arrays: Arrays, description: dict[str, Any]) -> Trigger:
    """Returns the trigger that `to_parts` was given.

    Raises:
        KeyError: its pattern is not among the arrays.
        TypeError, ValueError: there is no such trigger, or it has no such settings.
    """
    settings = dict(description)
    name = settings.pop("name", _UNNAMED)
    if "pattern" in TRIGGERS.settings(name):
        settings["pattern"] = arrays["trigger"]
    return TRIGGERS[name](**settings)
