"""The revisions by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.defenses.revisions.base import Revision

REVISIONS: "Registry[Revision]" = Registry(
    "revision",
    ".base:Revision",
    {
        "epic": ".epic:Epic",
        "friendly_noise": ".friendly_noise:FriendlyNoise",
    },
    __package__,
)

get, names, settings = REVISIONS.get, REVISIONS.names, REVISIONS.settings
register = REVISIONS.register
