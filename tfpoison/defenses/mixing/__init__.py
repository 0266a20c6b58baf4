"""Defenses that mix or erase the images of every training batch."""

from tfpoison.defenses.mixing.base import Mixing
from tfpoison.defenses.mixing.cutmix import CutMix
from tfpoison.defenses.mixing.cutout import Cutout
from tfpoison.defenses.mixing.data_set import on_batches
from tfpoison.defenses.mixing.maxup import MaxUp
from tfpoison.defenses.mixing.mixup import Mixup
from tfpoison.defenses.mixing.table import MIXINGS, get, names

__all__ = ["MIXINGS", "CutMix", "Cutout", "MaxUp", "Mixing", "Mixup", "get", "names", "on_batches"]
