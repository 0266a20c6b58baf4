"""Defenses that revise the training set in mid-training."""

from tfpoison.defenses.revisions.base import Revised, Revision
from tfpoison.defenses.revisions.epic import Epic
from tfpoison.defenses.revisions.friendly_noise import FriendlyNoise
from tfpoison.defenses.revisions.table import REVISIONS, get, names
from tfpoison.defenses.revisions.training_set_revision import TrainingSetRevision

__all__ = [
    "REVISIONS",
    "Epic",
    "FriendlyNoise",
    "Revised",
    "Revision",
    "TrainingSetRevision",
    "get",
    "names",
]
