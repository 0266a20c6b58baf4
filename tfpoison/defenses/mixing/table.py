"""The mixings by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.defenses.mixing.base import Mixing

MIXINGS: "Registry[Mixing]" = Registry(
    "mixing",
    ".base:Mixing",
    {
        "mixup": ".mixup:Mixup",
        "cutmix": ".cutmix:CutMix",
        "cutout": ".cutout:Cutout",
        "maxup": ".maxup:MaxUp",
    },
    __package__,
)

get, names, settings = MIXINGS.get, MIXINGS.names, MIXINGS.settings
register = MIXINGS.register
