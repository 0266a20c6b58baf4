"""Defenses: what a training is defended by, by name."""

from tfpoison.defenses.defense import Defense
from tfpoison.defenses.dp_sgd import DPSGD
from tfpoison.defenses.mixing import Mixing
from tfpoison.defenses.table import build, from_text, get, is_crafting, names, parse, settings

__all__ = [
    "DPSGD",
    "Defense",
    "Mixing",
    "build",
    "from_text",
    "get",
    "is_crafting",
    "names",
    "parse",
    "settings",
]
