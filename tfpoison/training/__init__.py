"""The defense: poisons are crafted inside every training step."""

from tfpoison.training.robust_model import CraftedImages, RobustModel

__all__ = ["CraftedImages", "RobustModel"]
