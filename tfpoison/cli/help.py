"""The help: in short, of a job, and of whatever has a name."""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from tfpoison.checks import suggestion
from tfpoison.cli import flagfiles
from tfpoison.cli.flags import all_flags
from tfpoison.cli.groups import GROUPS
from tfpoison.cli.jobs import JOBS
from tfpoison.notes import share_of_range
from tfpoison.registry import Registry, load
from tfpoison.runs.flag_lines import comment
from tfpoison.settings import declared, rule_of

_INDENT = 32
# Where parts are found by name, and how one is asked for.
_FAMILIES = {
    "tfpoison.attacks.zoo:ATTACKS": "--defense={0}, or --defense_attack={0}",
    "tfpoison.defenses.table:DEFENSES": "--defense={0}, or a column of --defenses",
    "tfpoison.repairing.table:REPAIRS": "--job=repair --repair={0}",
    "tfpoison.networks.table:NETWORKS": "--network={0}",
    "tfpoison.recipes.table:RECIPES": "--recipes={0}",
    "tfpoison.recipes.scenario:SCENARIOS": "--scenarios={0}",
    "tfpoison.data.table:SOURCES": "--dataset={0}",
    "tfpoison.data.table:AUGMENTATIONS": "--augmentation={0}",
    "tfpoison.objectives.table:OBJECTIVES": "tfpoison.objectives.get({0!r})",
    "tfpoison.perturbations.table:PERTURBATIONS": "tfpoison.perturbations.get({0!r})",
    "tfpoison.perturbations.table:INITIALIZERS": "--brew_initializer={0}",
    "tfpoison.perturbations.table:OPTIMIZERS": "--brew_optimizer={0}",
}
# Where a docstring turns from what a part is to its arguments.
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Examples?):$", re.MULTILINE)
# Settings whose values are shares of the pixel range.
_SHARES = ("epsilon", "random_epsilon")


def overview() -> str:
    """Returns the short help: the jobs, and how to get more."""
    jobs = [f"  {name:<12}{entry.text}" for name, entry in JOBS.items()]
    files = [each for each in flagfiles.names() if "/" not in each]
    return "\n".join(
        [
            "tfpoison --flagfile=NAME.flags --output_dir=DIR [--FLAG=VALUE ...]",
            "",
            "Jobs: --job=NAME",
            *jobs,
            "",
            "More",
            "  --job=NAME --help   the flags of a job, with their defaults",
            "  --help=NAME         an attack, defense, recipe, network, …: its settings, its paper",
            "  --version",
            "",
            "Flagfiles, found by path or, from anywhere, by name; later flags win",
            *textwrap.wrap(", ".join(files), 96, initial_indent="  ", subsequent_indent="  "),
            "  and those of defenses/, paper/ and small/",
        ]
    )


def of_job(name: str) -> str:
    """Returns the help of a job: its flags with their defaults, group by group."""
    lines = [f"--job={name} {JOBS[name].text}"]
    for key, flags in JOBS[name].flags().items():
        lines += ["", GROUPS[key].title]
        for flag, field in flags.items():
            lines += _of_flag(flag, field, GROUPS[key].default(field))
    return "\n".join(lines)


def _of_flag(name: str, field: dataclasses.Field, default: object) -> list[str]:
    rule = rule_of(field)
    text = rule.text
    if names := rule.names():
        text += f" One of: {', '.join(names)}."
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    shown = "" if default is None or default is False else f" [{default}]"
    return _columns(f"  --{name}", f"{text}{shown}")


def of_name(name: str) -> str:
    """Returns what is known of all that goes by a name: a part, a flag, a job, a flagfile."""
    tables = {load(place): usage for place, usage in _FAMILIES.items()}
    flags = {flag: (field, group) for flag, field, group in all_flags()}
    files = {each.removesuffix(".flags"): each for each in flagfiles.names()}
    name = name.removeprefix("--").removesuffix(".flags")
    told = [_of_part(table, name, usage) for table, usage in tables.items() if name in table]
    if name in flags:
        field, group = flags[name]
        told.append("\n".join([group.title, *_of_flag(name, field, group.default(field))]))
    if name in JOBS:
        told.append(of_job(name))
    if name in files:
        about = comment((flagfiles.folder() / files[name]).read_text())
        lines = textwrap.wrap(about, 96, initial_indent="  ", subsequent_indent="  ")
        told.append("\n".join([f"--flagfile={files[name]}", *lines]))
    if not told:
        known = {*(each for table in tables for each in table), *flags, *JOBS, *files}
        raise ValueError(
            "Expected --help=NAME with the name of an attack, a defense, a recipe, a network, a "
            f"flag, a job or a flagfile. Received: {name!r}.{suggestion(name, known)}"
        )
    return "\n\n".join(told)


def _of_part(table: Registry, name: str, usage: str) -> str:
    """Returns what a part is, by the docstrings of what it is made of, and its settings."""
    maker = table[name]
    about = getattr(maker, "about", (maker,))
    lines = [f"{table.family.capitalize()}: {usage.format(name)}"]
    for each in about:
        text = _SECTION.split(inspect.getdoc(each) or "")[0].strip()
        lines += ["", *textwrap.indent(text, "  ").splitlines()]
    texts = dict(pair for each in about for pair in _texts(each))
    settings = {
        setting: default
        for setting, default in table.settings(name).items()
        if default is not inspect.Parameter.empty
    }
    if settings:
        lines += ["", "Settings, with their defaults"]
    for setting, default in settings.items():
        share = setting in _SHARES and isinstance(default, float)
        title = f"  {setting}={share_of_range(default) if share else default}"
        lines += _columns(title, texts.get(setting, ""))
    return "\n".join(lines)


def _texts(kind: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Yields the settings that a class declares, each with its sentence."""
    if dataclasses.is_dataclass(kind):
        for field in declared(kind):
            yield field.name, rule_of(field).text


def _columns(title: str, text: str) -> list[str]:
    """Returns the lines of a text beside its title, or below a title that is too long."""
    lines = textwrap.wrap(text, 98 - _INDENT)
    if lines and len(title) <= _INDENT - 2:
        title = f"{title:<{_INDENT}}{lines.pop(0)}"
    return [title, *(f"{'':{_INDENT}}{line}" for line in lines)]
