"""The table of defenses: a name, or an expression such as `mixup(ways=4)+epic` → a defense."""

import ast
import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

from tfpoison import attacks
from tfpoison.checks import check_name
from tfpoison.defenses import filters, mixing, revisions
from tfpoison.defenses.defense import STEP_SETTINGS, Defense
from tfpoison.defenses.gradient_shaping import Shaping

_NOISE = "noise_"
# The sign between two defenses, outside of the brackets around settings.
_PLUS = re.compile(r"\+(?![^(]*\))")
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")
_TRUTHS = {"true": True, "false": False}
_NAME_AND_SETTINGS = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*")


@dataclasses.dataclass(frozen=True)
class _Entry:
    """How a defense is made from settings; which settings it has, given some of them."""

    build: Callable[..., Defense]
    settings: Callable[..., dict[str, Any]]


def _crafting(attack: str = "gradient_matching", **settings: Any) -> Defense:
    step = {name: settings.pop(name) for name in STEP_SETTINGS if name in settings}
    return Defense(attack=attacks.get(attack, **settings), **step)


def _crafting_settings(attack: str = "gradient_matching", **_: Any) -> dict[str, Any]:
    own = {field.name: field.default for field in dataclasses.fields(Defense)}
    step = {name: own[name] for name in STEP_SETTINGS if name != "poison_fraction"}
    return {"attack": attack} | attacks.settings(attack) | step


def _crafting_of(attack: str) -> _Entry:
    """Returns the entry of adversarial poisoning with that attack."""

    def settings(**_: Any) -> dict[str, Any]:
        known = _crafting_settings(attack)
        return {name: known[name] for name in known if name != "attack"}

    return _Entry(lambda **given: _crafting(attack, **given), settings)


def _noise(kind: str = "uniform", **settings: Any) -> Defense:
    return _crafting(_noise_attack(kind), **{"poison_fraction": 1.0} | settings)


def _noise_settings(kind: str = "uniform", **_: Any) -> dict[str, Any]:
    known = _crafting_settings(_noise_attack(kind)) | {"poison_fraction": 1.0}
    hidden = ("attack", "initializer", "target_selection")
    return {"kind": kind} | {name: known[name] for name in known if name not in hidden}


def _noise_attack(kind: str) -> str:
    kinds = [each.removeprefix(_NOISE) for each in attacks.names() if each.startswith(_NOISE)]
    check_name("kind of noise", kind, kinds)
    return _NOISE + kind


def _friendly_noise(**settings: Any) -> Defense:
    settings = _friendly_noise_settings() | settings
    random_noise = _noise(settings.pop("random_noise"), epsilon=settings.pop("random_epsilon"))
    friendly = Defense(revision=revisions.get("friendly_noise", **settings))
    return friendly.combine(random_noise)


def _friendly_noise_settings(**_: Any) -> dict[str, Any]:
    # The paper's second half: fresh noise in every batch, of the same bound.
    random = {"random_noise": "bernoulli", "random_epsilon": 16 / 255}
    return revisions.get("friendly_noise").settings() | random


def _part(kind: str, module: Any, name: str) -> _Entry:
    """Returns the entry of a part that has a table of its own."""
    return _Entry(
        lambda **settings: Defense(**{kind: module.get(name, **settings)}),
        lambda **_: module.get(name).settings(),
    )


_DEFENSES = {
    "none": _Entry(lambda: Defense(), lambda **_: {}),
    "adversarial_poisoning": _Entry(_crafting, _crafting_settings),
    "evasion": _crafting_of("evasion"),
    "noise": _Entry(_noise, _noise_settings),
    "gradient_shaping": _Entry(
        lambda **settings: Defense(gradient_shaping=Shaping(**settings)),
        lambda **_: Shaping.settings(),
    ),
    **{name: _part("mixing", mixing, name) for name in mixing.names()},
    **{name: _part("filter", filters, name) for name in filters.names()},
    "epic": _part("revision", revisions, "epic"),
    "friendly_noise": _Entry(_friendly_noise, _friendly_noise_settings),
}


# What a defense was called before: recorded configurations name it so.
_EARLIER_NAMES = {"dp_sgd": "gradient_shaping"}


def names() -> list[str]:
    """Returns the names of the defenses."""
    return list(_DEFENSES)


def settings(name: str, **given: Any) -> dict[str, Any]:
    """Returns the settings of a defense with their defaults.

    Args:
        name: one of `names()`, or of `tfpoison.attacks.names()`.
        **given: settings on which others depend: the `attack` of adversarial poisoning.

    Raises:
        ValueError: the name is unknown.
    """
    return _entry(name).settings(**given)


def get(name: str, **settings: Any) -> Defense:
    """Returns the defense of that name.

    Args:
        name: one of `names()`; a name of `tfpoison.attacks.names()` stands for adversarial
            poisoning with that attack.
        **settings: those that should differ from their defaults; see `settings`.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: the name is unknown, the defense has no such setting, or the setting's value
            cannot be.
    """
    entry = _entry(name)
    known = entry.settings(**settings)
    for setting in settings:
        check_name(f"setting of the defense {name!r}", setting, known)
    return entry.build(**settings)


def _entry(name: str) -> _Entry:
    name = _EARLIER_NAMES.get(name, name)
    if name not in _DEFENSES and name in attacks.names():
        return _crafting_of(name)
    check_name("defense", name, [*names(), *attacks.names()])
    return _DEFENSES[name]


def from_text(text: str) -> Defense:
    """Returns the defense that an expression describes; see `parse` and `build`."""
    return build(parse(text))


def parse(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns the names in an expression, each with its settings.

    An expression is `NAME`, `NAME(setting=value;setting=value)`, or several with `+` between. A
    value is a Python literal, `true` or `false`, a fraction such as `16/255`, or else a name.

    Raises:
        ValueError: the text is no such expression, or a name is unknown.
    """
    parts = []
    for part in _PLUS.split(text):
        found = _NAME_AND_SETTINGS.fullmatch(part)
        if found is None:
            raise ValueError(
                "Expected a defense as NAME, NAME(setting=value;setting=value), or several with + "
                f"between. Received: {text!r}"
            )
        _entry(found[1])
        parts.append((found[1], _parse_settings(found[2] or "", text)))
    return parts


def build(parts: list[tuple[str, dict[str, Any]]]) -> Defense:
    """Returns the defenses of these names and settings, combined.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a name, a setting or its value cannot be, or the defenses cannot be combined.
    """
    return functools.reduce(Defense.combine, (get(name, **given) for name, given in parts))


def is_crafting(name: str) -> bool:
    """Returns whether the name stands for adversarial poisoning, by whatever attack."""
    return name in ("adversarial_poisoning", *attacks.names())


def _parse_settings(text: str, expression: str) -> dict[str, Any]:
    given = {}
    for each in filter(str.strip, text.split(";")):
        name, equals, value = (part.strip() for part in each.partition("="))
        if not (name and equals and value):
            raise ValueError(
                f"Expected settings as name=value with ; between. Received: {each!r} in "
                f"{expression!r}"
            )
        if name in given:
            raise ValueError(
                f"Expected every setting once. Received {name} twice in {expression!r}"
            )
        given[name] = _parse_value(value)
    return given


def _parse_value(text: str) -> Any:
    """Returns the Python literal, the fraction or the truth that the text is, or else the text."""
    if text in _TRUTHS:
        return _TRUTHS[text]
    if fraction := _FRACTION.fullmatch(text):
        numerator, denominator = (float(each) for each in fraction.groups())
        return numerator / denominator if denominator else text
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
