"""Defenses: what a training is defended by, by name."""

from tfpoison.defenses.defense import Defense
from tfpoison.defenses.dp_sgd import DPSGD
from tfpoison.defenses.filter_base import Filter, Suspicion
from tfpoison.defenses.mixing import Mixing
from tfpoison.defenses.revision import TrainingSetRevision
from tfpoison.defenses.revision_base import Revised, Revision
from tfpoison.defenses.table import build, from_text, get, is_crafting, names, parse, settings

__all__ = [
    "DPSGD",
    "Defense",
    "Filter",
    "Mixing",
    "Revised",
    "Revision",
    "Suspicion",
    "TrainingSetRevision",
    "build",
    "from_text",
    "get",
    "is_crafting",
    "names",
    "parse",
    "settings",
]
