"""Defenses of the command line: expressions, and the flags about what is crafted in the step."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from tfpoison import defenses
from tfpoison.cli.flags import CommandLine, flag_names, in_flags
from tfpoison.notes import tell_once

if TYPE_CHECKING:
    from tfpoison.defenses import Defense

_GROUPS = ("crafting", "attack's settings", "matching")
_FLAGS = flag_names("attack in the step", *_GROUPS)


def crafts(expression: str) -> bool:
    """Returns whether adversarial poisoning is a part of a defense."""
    return any(defenses.is_crafting(name) for name, _ in defenses.parse(expression))


def of_training(line: CommandLine) -> "Defense":
    """Returns the defense of `--defense`; ValueError where a setting or a flag is not its own."""
    if not crafts(line["defense"]):
        line.refuse(
            sorted(_FLAGS.values()),
            f"Expected no flags of adversarial poisoning with --defense={line['defense']}; "
            "--defense=adversarial_poisoning uses them.",
        )
    return _build(_parts(line, line["defense"]))


def of_columns(line: CommandLine, columns: Collection[str]) -> "dict[str, Defense]":
    """Returns the defenses of columns; flags hold for those that have such settings.

    It is told which flags make no difference: a flagfile's columns may be replaced by others.
    """
    used, table = set(), {}
    for column in columns:
        parts = [
            (name, {each: shared[each] for each in shared if each in _known(line, name, own)}, own)
            for name, shared, own in _parts(line, column)
        ]
        used |= {setting for _, shared, own in parts for setting in shared.keys() - own.keys()}
        table[column] = _build(parts)
    if line["defense_attack"] in columns:
        used.add("attack")
    without = [
        f"--{name}"
        for setting, name in _FLAGS.items()
        if setting not in used and name.startswith("defense_") and line.is_set(name)
    ]
    if without:
        tell_once(f"no effect on the defenses {', '.join(columns)}: {', '.join(without)}")
    return table


def _parts(line: CommandLine, expression: str) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Returns (name, what the flags say about it, its own settings) for each part of a defense."""
    parts = []
    for name, own in defenses.parse(expression):
        shared = line.given(*_GROUPS) if defenses.is_crafting(name) else {}
        if name == "adversarial_poisoning" and "attack" not in own:
            shared["attack"] = line["defense_attack"]
        parts.append((name, shared, own))
    return parts


def _known(line: CommandLine, name: str, own: dict[str, Any]) -> dict[str, Any]:
    return defenses.settings(name, **{"attack": line["defense_attack"]} | own)


def _build(parts: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> "Defense":
    # Settings that stand in the expression are spoken of as they are.
    own_names = {setting for _, _, own in parts for setting in own}
    with in_flags({each: _FLAGS[each] for each in _FLAGS.keys() - own_names}):
        return defenses.build([(name, shared | own) for name, shared, own in parts])
