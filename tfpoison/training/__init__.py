"""The defense: poisons are crafted inside every training step."""

from tfpoison.training.batches import CraftedImages
from tfpoison.training.robust_model import RobustModel

__all__ = ["CraftedImages", "RobustModel"]
