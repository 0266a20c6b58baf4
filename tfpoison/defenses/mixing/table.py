"""The table of mixings: name → class."""

from typing import Any

from tfpoison.checks import check_name
from tfpoison.defenses.mixing.base import Mixing
from tfpoison.defenses.mixing.cutmix import CutMix
from tfpoison.defenses.mixing.cutout import Cutout
from tfpoison.defenses.mixing.maxup import MaxUp
from tfpoison.defenses.mixing.mixup import Mixup

MIXINGS: dict[str, type[Mixing]] = {
    "mixup": Mixup,
    "cutmix": CutMix,
    "cutout": Cutout,
    "maxup": MaxUp,
}


def names() -> list[str]:
    """Returns the names of the mixings."""
    return list(MIXINGS)


def get(mixing: str | Mixing | None, **settings: Any) -> Mixing | None:
    """Returns the mixing of that name with the settings given; an object or None as it is.

    Args:
        mixing: a name of `names()`, a `Mixing`, or None for none.
        **settings: with a name: the mixing's settings.

    Raises:
        ValueError: the name is unknown, a setting has a value that cannot be, or there are settings
            without a name.
        TypeError: `mixing` is something else, the mixing has no such setting, or a setting has the
            wrong type.
    """
    if isinstance(mixing, str):
        check_name("mixing", mixing, names())
        return MIXINGS[mixing](**settings)
    if mixing is not None and not isinstance(mixing, Mixing):
        raise TypeError(
            "Expected `mixing` to be the name of a mixing, a Mixing or None. "
            f"Received: mixing={mixing!r}"
        )
    if settings:
        raise ValueError(
            f"Expected no settings beside mixing={mixing!r}: they go with a mixing's name. "
            f"Received: {', '.join(sorted(settings))}"
        )
    return mixing
