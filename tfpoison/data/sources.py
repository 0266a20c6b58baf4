"""Data sets by name; those of TensorFlow Datasets go by their own names beside these."""

from tfpoison.data.digits import digits
from tfpoison.data.image_folder import image_folder

SOURCES = {"digits": digits, "image_folder": image_folder}


def names() -> list[str]:
    """Returns the data sets that need no preparation; any TFDS name is welcome besides."""
    return list(SOURCES)
