"""Tables that pages ask for by `<!-- table: NAME -->`, made of the code when the site is built."""

import dataclasses
import re

from tfpoison.attacks import ATTACKS
from tfpoison.cli import help
from tfpoison.cli.groups import GROUPS
from tfpoison.cli.jobs import JOBS
from tfpoison.defenses import DEFENSES
from tfpoison.recipes.table import RECIPES
from tfpoison.settings import rule_of

_ASKED = re.compile(r"^<!-- table: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_) -> str:
    """Puts the tables that a page asks for in their places; MkDocs calls it for every page."""
    return _ASKED.sub(lambda found: TABLES[found[1]](), markdown)


def flags() -> str:
    """Returns all flags in groups, each with its default, its choices and the jobs that take it."""
    parts = []
    for key, group in GROUPS.items():
        jobs = [name for name, job in JOBS.items() if key in job.flags()]
        taken = "every job" if len(jobs) == len(JOBS) else ", ".join(f"`{name}`" for name in jobs)
        rows = [
            f"| `--{name}` | {_default(group.default(field))} | {_text(field)} |"
            for name, field in group.flags().items()
        ]
        head = f"## {group.title}\n\nOf {taken}.\n\n| flag | default | |\n|---|---|---|"
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts)


def _default(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _text(field: dataclasses.Field) -> str:
    rule = rule_of(field)
    names = f" One of {', '.join(f'`{name}`' for name in rule.names())}." if rule.names() else ""
    return f"{rule.text}{names}".replace("|", "\\|")


def parts() -> str:
    """Returns what the help says of every attack, recipe and defense."""
    families = {"Attacks": ATTACKS, "Recipes": RECIPES, "Defenses": DEFENSES}
    told: set[str] = set()
    lines = []
    for title, family in families.items():
        lines.append(f"## {title}")
        # A name of two families is told of once, with all that it means.
        for name in [each for each in family if each not in told]:
            lines.append(f"### {name}\n\n```text\n{help.of_name(name)}\n```")
        told |= set(family)
    return "\n\n".join(lines)


TABLES = {"flags": flags, "parts": parts}
