"""What makes defenses of settings that depend on one another, or belong to several parts."""

import dataclasses
from collections.abc import Callable
from typing import Any

from tfpoison.attacks.crafting import STEP_SETTINGS, Crafting
from tfpoison.attacks.zoo import ATTACKS, DEFAULT
from tfpoison.checks import check_name
from tfpoison.defenses.defense import Defense
from tfpoison.defenses.gradient_shaping import Shaping
from tfpoison.defenses.revisions.table import REVISIONS
from tfpoison.registry import Registry

_NOISE = "noise_"


@dataclasses.dataclass(frozen=True)
class Maker:
    """How a defense is made of settings, which it has, and whose docstrings tell of it."""

    make: Callable[..., Defense]
    settings: Callable[..., dict[str, Any]]
    about: tuple[Any, ...]

    def __call__(self, **settings: Any) -> Defense:
        """Returns the defense."""
        return self.make(**settings)


def _about(attack: str) -> tuple[Any, ...]:
    maker = ATTACKS[attack]
    return getattr(maker, "about", (maker,))


def crafting_with(attack: str) -> Maker:
    """Returns what makes adversarial poisoning with that attack."""
    return Maker(
        lambda **settings: Defense(crafting=Crafting.of(attack, **settings)),
        lambda **_: STEP_SETTINGS | ATTACKS.settings(attack),
        (Crafting, *_about(attack)),
    )


def part(kind: str, table: Registry, name: str) -> Maker:
    """Returns what makes a defense of a part that has a table of its own."""

    def make(**settings: Any) -> Defense:
        made = table.get(name, **settings)
        parts: dict[str, Any] = {kind: (made,) if kind == "filters" else made}
        return Defense(**parts)

    return Maker(make, lambda **_: table.settings(name), (table[name],))


def _crafting(attack: str = DEFAULT, **settings: Any) -> Defense:
    return crafting_with(attack)(**settings)


def _crafting_settings(attack: str = DEFAULT, **_: Any) -> dict[str, Any]:
    return {"attack": attack} | crafting_with(attack).settings()


def _noise(kind: str = "uniform", **settings: Any) -> Defense:
    return crafting_with(_noise_attack(kind))(**{"poison_fraction": 1.0} | settings)


def _noise_settings(kind: str = "uniform", **_: Any) -> dict[str, Any]:
    known = crafting_with(_noise_attack(kind)).settings() | {"poison_fraction": 1.0}
    hidden = ("initializer", "target_selection")
    return {"kind": kind} | {name: known[name] for name in known if name not in hidden}


def _noise_attack(kind: str) -> str:
    kinds = [each.removeprefix(_NOISE) for each in ATTACKS if each.startswith(_NOISE)]
    check_name("kind of noise", kind, kinds)
    return _NOISE + kind


def _friendly_noise(**settings: Any) -> Defense:
    settings = _friendly_noise_settings() | settings
    random_noise = _noise(settings.pop("random_noise"), epsilon=settings.pop("random_epsilon"))
    friendly = Defense(revision=REVISIONS.get("friendly_noise", **settings))
    return friendly.combine(random_noise)


def _friendly_noise_settings(**_: Any) -> dict[str, Any]:
    # The paper's second half: fresh noise in every batch, of the same bound.
    random = {"random_noise": "bernoulli", "random_epsilon": 16 / 255}
    return REVISIONS.settings("friendly_noise") | random


NONE = Maker(Defense, lambda **_: {}, (Defense,))
ADVERSARIAL_POISONING = Maker(_crafting, _crafting_settings, (Crafting,))
EVASION = crafting_with("evasion")
NOISE = Maker(_noise, _noise_settings, _about("noise_uniform"))
GRADIENT_SHAPING = Maker(
    lambda **settings: Defense(gradient_shaping=Shaping(**settings)),
    lambda **_: Shaping.settings(),
    (Shaping,),
)
FRIENDLY_NOISE = Maker(_friendly_noise, _friendly_noise_settings, (REVISIONS["friendly_noise"],))
