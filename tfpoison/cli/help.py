"""The help: in short, of a job, and of whatever has a name."""

import dataclasses
import textwrap

from tfpoison.cli import flagfiles
from tfpoison.cli.groups import GROUPS
from tfpoison.cli.jobs import JOBS
from tfpoison.settings import rule_of

_INDENT = 32


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
    text_lines = textwrap.wrap(f"{text}{shown}", 98 - _INDENT)
    title = f"  --{name}"
    first = [title] if len(title) > _INDENT - 2 else []
    title = "" if first else title
    return [
        *first,
        f"{title:<{_INDENT}}{text_lines[0]}",
        *(f"{'':{_INDENT}}{line}" for line in text_lines[1:]),
    ]
