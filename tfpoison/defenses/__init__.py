"""Defenses: what a training is defended by, by name."""

from tfpoison.defenses.defense import Defense
from tfpoison.defenses.filters.base import Filter, Suspicion
from tfpoison.defenses.gradient_shaping import GradientShaping
from tfpoison.defenses.mixing import Mixing
from tfpoison.defenses.revisions import TrainingSetRevision
from tfpoison.defenses.revisions.base import Revised, Revision
from tfpoison.defenses.table import build, from_text, get, is_crafting, names, parse, settings

__all__ = [
    "Defense",
    "Filter",
    "GradientShaping",
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
