"""Tables of an experiment's numbers: cells, and Markdown and CSV that are made of them."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tfpoison import csv_files
from tfpoison.notes import MISSING, decimal
from tfpoison.report.estimates import Comparison, Estimate, Row, defenses, title

# The most defenses that stand beside each other in a table.
_MOST_COLUMNS = 4


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Returns the cells of a table like the paper's Table 1, the heading first.

    A line for each recipe, scenario and adversary; columns for the success undefended and under
    each defense, the clean accuracy of each, the trials, and the seconds of a training of each.
    A dash stands for what was not run. Of many defenses, and where victims have diverged, each has
    a line of its own, as in `narrow_table`.
    """
    names = defenses(rows)
    if len(names) > _MOST_COLUMNS or any(row.diverged for row in rows):
        return narrow_table(rows)
    heading = ["recipe", "scenario", "adversary"]
    heading += [f"success %, {title(name)}" for name in names]
    heading += [f"accuracy %, {title(name)}" for name in names]
    heading += ["trials", *(f"training s, {title(name)}" for name in names)]
    lines: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault((row.recipe, row.scenario, row.adversary), {})[row.defense] = row
    return [heading, *([*line, *_line(cells, names)] for line, cells in lines.items())]


def _line(cells: dict[str, Row], names: Sequence[str]) -> list[str]:
    def across(text: Callable[[Row], str]) -> list[str]:
        return [text(cells[name]) if name in cells else MISSING for name in names]

    trials = sorted({row.trials for row in cells.values()})
    return [
        *across(lambda row: row.success.text()),
        *across(lambda row: row.clean_accuracy.text()),
        # Cells of an unfinished experiment may differ.
        "–".join(str(number) for number in dict.fromkeys((trials[0], trials[-1]))),
        *across(lambda row: decimal(row.training_seconds, 1)),
    ]


def narrow_table(rows: Iterable[Row]) -> list[list[str]]:
    """Returns the cells of a table with a line for each row, the heading first.

    What the defenses remove has columns of its own where one removes anything; so has the number
    of victims that diverged, where any has.
    """
    rows = list(rows)
    removes = any(not math.isnan(row.removed_share.mean) for row in rows)
    diverges = any(row.diverged for row in rows)
    heading = ["recipe", "scenario", "adversary", "defense", "success %", "accuracy %"]
    heading += ["removed %", "poisons removed %"] if removes else []
    heading += ["trials", *(["diverged"] if diverges else []), "training s", "cost"]
    lines = [heading]
    for row in rows:
        removed = [row.removed_share.text(), row.removed_poisons.text()] if removes else []
        counts = [str(row.trials), *([str(row.diverged)] if diverges else [])]
        lines.append(
            [
                *(row.recipe, row.scenario, row.adversary, title(row.defense)),
                *(row.success.text(), row.clean_accuracy.text(), *removed),
                *(*counts, decimal(row.training_seconds, 1), decimal(row.training_cost, 1)),
            ]
        )
    return lines


def comparison_table(comparisons: Iterable[Comparison]) -> list[list[str]]:
    """Returns the cells of a table of comparisons, the heading first."""
    heading = ["recipe", "scenario", "adversary", "defense", "pairs"]
    heading += ["Δ success, points", "Δ target confidence, points"]
    heading += ["success → failure", "failure → success"]
    return [
        heading,
        *(
            [
                *(each.recipe, each.scenario, each.adversary, each.defense, str(each.pairs)),
                *(each.success.text(), each.target_confidence.text()),
                *(str(each.prevented), str(each.caused)),
            ]
            for each in comparisons
        ),
    ]


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown, padded to be read as it is; the first line is the heading."""
    escaped = [[_escape(cell) for cell in line] for line in cells]
    widths = [max(3, *map(len, column)) for column in zip(*escaped, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in escaped]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _escape(cell: str) -> str:
    # Markdown lets HTML through.
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        cell = cell.replace(character, escaped)
    return cell


def csv_text(rows: Iterable[Row] | Iterable[Comparison]) -> str:
    """Returns a line for each row or comparison, with all its fields; empty where unknown.

    An estimate takes two columns, NAME and NAME_error.
    """
    lines = [_flatten(row) for row in rows]
    return csv_files.text([*lines[:1], *(line.values() for line in lines)])


def _flatten(row: Row | Comparison) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Estimate):
            flat[field.name] = decimal(value.mean, 4, "")
            flat[f"{field.name}_error"] = decimal(value.error, 4, "")
        else:
            flat[field.name] = decimal(value, 4, "") if isinstance(value, float) else value
    return flat
