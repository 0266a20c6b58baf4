"""The transforms by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.defenses.transforms.base import Transform

TRANSFORMS: "Registry[Transform]" = Registry(
    "transform",
    ".base:Transform",
    {
        "jpeg": ".jpeg:Jpeg",
        "grayscale": ".grayscale:Grayscale",
        "bit_depth": ".bit_depth:BitDepth",
        "blur": ".blur:Blur",
    },
    __package__,
)

get, names, settings = TRANSFORMS.get, TRANSFORMS.names, TRANSFORMS.settings
register = TRANSFORMS.register
