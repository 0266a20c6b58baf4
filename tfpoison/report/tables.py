"""Tables of an experiment's numbers: cells, and Markdown and CSV that are made of them."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tfpoison import csv_files
from tfpoison.notes import decimal
from tfpoison.report.estimates import Comparison, Estimate, Row, title

Cells = list[list[str]]


def table(rows: Iterable[Row]) -> Cells:
    """Returns the cells of a table with a line for each row, the heading first.

    What the defenses remove has columns of its own where one removes anything; so have the right
    answers on targets where they are recorded, the number of victims that diverged, where any has,
    and that of outcomes where some share a training.
    """
    rows = list(rows)
    removes = any(not math.isnan(row.removed_share.mean) for row in rows)
    robust = any(not math.isnan(row.robust_accuracy.mean) for row in rows)
    diverges = any(row.diverged for row in rows)
    shares = any(row.sharing > 1 for row in rows)
    heading = ["recipe", "scenario", "adversary", "defense", "success %"]
    heading += [*(["robust accuracy %"] if robust else []), "accuracy %"]
    heading += ["removed %", "poisons removed %"] if removes else []
    heading += ["trials", *(["outcomes", "in one training"] if shares else [])]
    heading += [*(["diverged"] if diverges else []), "training s", "cost"]
    lines = [heading]
    for row in rows:
        removed = [row.removed_share.text(), row.removed_poisons.text()] if removes else []
        counts = [str(row.trials), *([str(row.outcomes), str(row.sharing)] if shares else [])]
        counts += [str(row.diverged)] if diverges else []
        lines.append(
            [
                *(row.recipe, row.scenario, row.adversary, title(row.defense)),
                *(row.success.text(), *([row.robust_accuracy.text()] if robust else [])),
                *(row.clean_accuracy.text(), *removed),
                *(*counts, decimal(row.training_seconds, 1), decimal(row.training_cost, 1)),
            ]
        )
    return lines


def detection_table(rows: Iterable[Row]) -> Cells:
    """Returns the cells of a table of what defenses find, the heading first; empty for none."""
    heading = ["recipe", "scenario", "adversary", "defense", "AUC %"]
    lines = [
        [
            *(row.recipe, row.scenario, row.adversary, title(row.defense)),
            *(row.detection_auc.text(), row.removed_poisons.text()),
            *(row.removed_clean.text(), row.removed_share.text()),
        ]
        for row in rows
        if not math.isnan(row.removed_share.mean)
    ]
    heading += ["true positives %", "false positives %", "removed %"]
    return [heading, *lines] if lines else []


def comparison_table(comparisons: Iterable[Comparison]) -> Cells:
    """Returns the cells of a table of comparisons, the heading first."""
    heading = ["recipe", "scenario", "adversary", "defense", "pairs"]
    heading += ["Δ success, points", "Δ target confidence, points"]
    heading += ["success → failure", "failure → success"]
    lines = [heading]
    for each in comparisons:
        pairs, changes = str(each.pairs), (str(each.prevented), str(each.caused))
        cell = each.recipe, each.scenario, each.adversary, title(each.defense)
        lines.append([*cell, pairs, each.success.text(), each.target_confidence.text(), *changes])
    return lines


def by_attack(cells: Cells, columns: Collection[str] | None = None) -> list[tuple[str, Cells]]:
    """Returns a table for each recipe, scenario and adversary, under the name of these.

    Args:
        cells: of a table whose first columns are these three.
        columns: which of the others are kept, by their heading; None for all.
    """
    heading = cells[0] if cells else []
    kept = [n for n, name in enumerate(heading) if n > 2 and (columns is None or name in columns)]
    attacks: dict[str, Cells] = {}
    for line in cells[1:]:
        attack = f"{' · '.join(line[:3])} adversary"
        attacks.setdefault(attack, [[heading[n] for n in kept]]).append([line[n] for n in kept])
    return list(attacks.items())


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
    """Returns a line for each row or comparison, with all its fields; empty where unknown."""
    lines = [_flatten(row) for row in rows]
    return csv_files.text([*lines[:1], *(line.values() for line in lines)])


def _flatten(row: Row | Comparison) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in vars(row).items():
        if isinstance(value, Estimate):
            flat |= {name: decimal(value.mean, 4, ""), f"{name}_error": decimal(value.error, 4, "")}
        else:
            flat[name] = decimal(value, 4, "") if isinstance(value, float) else value
    return flat
