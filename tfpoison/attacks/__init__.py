"""Attacks: objective × perturbation, by name."""

from tfpoison.attacks.attack import Attack, CraftedBatch
from tfpoison.attacks.zoo import get, names, settings

__all__ = ["Attack", "CraftedBatch", "get", "names", "settings"]
