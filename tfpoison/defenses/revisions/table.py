"""The table of revisions: name → class."""

from typing import Any

from tfpoison.checks import check_name
from tfpoison.defenses.revisions.base import Revision
from tfpoison.defenses.revisions.epic import Epic
from tfpoison.defenses.revisions.friendly_noise import FriendlyNoise

REVISIONS: dict[str, type[Revision]] = {"epic": Epic, "friendly_noise": FriendlyNoise}


def names() -> list[str]:
    """Returns the names of the revisions."""
    return list(REVISIONS)


def get(name: str, **settings: Any) -> Revision:
    """Returns the revision of that name with the settings given.

    Raises:
        ValueError: the name is unknown, or a setting has a value that cannot be.
        TypeError: the revision has no such setting, or a setting has the wrong type.
    """
    check_name("revision", name, names())
    return REVISIONS[name](**settings)
