"""The data sets and the augmentations by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.data.augmentation import Augmentation
    from tfpoison.data.source import Source

# Those of TensorFlow Datasets go by their own names beside these.
SOURCES: "Registry[Source]" = Registry(
    "data set",
    ".source:Source",
    {"digits": ".digits:digits", "image_folder": ".image_folder:image_folder"},
    __package__,
)

AUGMENTATIONS: "Registry[Augmentation | None]" = Registry(
    "augmentation",
    ".augmentation:Augmentation",
    {
        "none": ".augmentation:none",
        "shift": ".augmentation:shift",
        "flip": ".augmentation:flip",
        "shift_flip": ".augmentation:ShiftAndFlip",
    },
    __package__,
)

names, register = SOURCES.names, SOURCES.register
