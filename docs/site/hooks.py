"""Tables that pages ask for by `<!-- table: NAME -->`, made of the code when the site is built."""

import dataclasses
import re

from tfpoison.cli.groups import GROUPS
from tfpoison.cli.jobs import JOBS
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


TABLES = {"flags": flags}
