"""Numbers from the records of poisoning experiments: means, standard errors, pairs, tables."""

import dataclasses
import math
import os
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpoison import csv_files, files
from tfpoison.jobs.notes import MISSING, decimal, tell_once
from tfpoison.jobs.record_checks import CELL, VICTIM, Record, check_record, is_whole

UNDEFENDED = "none"
STANDARD = "standard"
# The range rule: a standard deviation is about a quarter of the range of the outcomes.
_RANGE_RULE = 0.25
# From this share of its targets on, a trial counts as a success of the adversary.
_SUCCESS = 0.5
# The most defenses that stand beside each other in a table.
_MOST_COLUMNS = 4
_REMEDY = "Mend or remove the line: a grid that goes on trains its victim again."
_FLAGS = dict(zip(CELL, ("recipes", "scenarios", "adversaries", "defenses"), strict=True))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and its standard error, in the same unit; NaN where there are too few values.

    Attributes:
        mean: the mean over trials.
        error: the standard error of the mean.
    """

    mean: float = math.nan
    error: float = math.nan

    def text(self, digits: int = 2) -> str:
        """Returns "mean ± error", the mean alone where there is no error, or a dash."""
        if math.isnan(self.mean):
            return MISSING
        mean = f"{self.mean:.{digits}f}"
        return mean if math.isnan(self.error) else f"{mean} ± {self.error:.{digits}f}"


@dataclasses.dataclass(frozen=True)
class Row:
    """What the trials of one cell of the experiment's grid came to.

    All estimates are in percent, with NaN for what no record holds.

    Attributes:
        recipe: the adversary's recipe.
        scenario: how the victims are trained.
        adversary: "standard", or "adaptive" where it knows the defense.
        defense: the defense, as the experiment was given it, or "none".
        trials: the number of distinct trials.
        victims: the number of victims that were measured.
        diverged: the number of victims that diverged: they tell nothing of the poisons, and count
            as no trial.
        success: the targets that get the adversarial class.
        clean_accuracy: the clean validation images that are classified as they should be.
        target_confidence: the probability of the adversarial class on the targets.
        target_class_accuracy: the accuracy on clean images of the targets' class.
        poison_class_accuracy: the accuracy on clean images of the poisons' class.
        success_without_poisons: the targets that get the adversarial class of a clean network.
        removed_share: the training examples that the defense removed; NaN where it removes none.
        removed_poisons: the poisons that it removed; NaN where it removes none.
        training_seconds: the median time of a victim's training.
        training_cost: that time over the one of the undefended victims of the
            same recipe and scenario.
        brewing_seconds: the mean time of a brewing.
    """

    recipe: str
    scenario: str
    adversary: str
    defense: str
    trials: int
    victims: int
    diverged: int
    success: Estimate
    clean_accuracy: Estimate
    target_confidence: Estimate
    target_class_accuracy: Estimate
    poison_class_accuracy: Estimate
    success_without_poisons: Estimate
    removed_share: Estimate
    removed_poisons: Estimate
    training_seconds: float
    training_cost: float
    brewing_seconds: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Defended trials against the same trials undefended, with the standard adversary.

    Attributes:
        recipe: the adversary's recipe.
        scenario: how the victims are trained.
        adversary: the adversary of the defended trials.
        defense: the defense, as the experiment was given it.
        pairs: the number of trials that were run both ways.
        success: defended less undefended, in percentage points.
        target_confidence: defended less undefended, in percentage points.
        prevented: trials that succeed undefended and fail defended.
        caused: trials that fail undefended and succeed defended.
    """

    recipe: str
    scenario: str
    adversary: str
    defense: str
    pairs: int
    success: Estimate
    target_confidence: Estimate
    prevented: int
    caused: int


def read_records(path: str | os.PathLike) -> list[Record]:
    """Returns the records of a JSON-lines file; what is no whole record is passed over and told.

    Raises:
        ValueError: the file cannot be read, a record is not as an experiment writes it, or two are
            about one victim.
    """
    with files.read_back(path, "Remove it: all victims are trained again."):
        # A crash can cut a line within a character.
        lines = files.read_bytes(path).decode("utf-8-sig", "replace").split("\n")
    records: dict[tuple, Record] = {}
    known_lines: dict[tuple, int] = {}
    torn = []
    for number, line in enumerate(lines, 1):
        record = _parse_record(line)
        if record is None:
            torn += [number] if line else []
            continue
        with files.read_back(f"line {number} of {path}", _REMEDY):
            check_record(record)
            victim = tuple(record[name] for name in VICTIM)
            if victim in records:
                raise ValueError(f"line {known_lines[victim]} is about the same victim")
        records[victim], known_lines[victim] = record, number
    if torn:
        tell_once(
            f"{path}: passed over what is no whole record, as a crash leaves it, in line(s) "
            f"{', '.join(map(str, torn[:10]))}. A grid that goes on trains these victims again."
        )
    return list(records.values())


def _parse_record(line: str) -> Record | None:
    """Returns the record of a line; None where it was cut off."""
    try:
        value = files.parse_json(line)
    except ValueError:
        return None
    return value if is_whole(value) else None


def estimate(values: Sequence[float], *, span: float | None = None) -> Estimate:
    """Returns the mean of independent values and its standard error.

    The standard error is the sample standard deviation (ddof = 1) divided by √n. Where all n values
    agree, as 0 successes of 20 do, that is 0 and says that there is no doubt left. With `span`,
    the range that the values could have had, the range rule (a standard deviation is about a
    quarter of the range) stands in for it: span / (4·√n). For shares, whose span is 1, that is
    0.25/√n, or 5.59 % for 20 trials: the ± 5.59 of the paper's Table 1 at 0 % and at 100 %.

    Args:
        values: one for each trial; NaNs are left out.
        span: the range the values could have had; None to leave a standard error of 0.

    Returns:
        The estimate; the standard error of a single value is NaN.
    """
    known = np.asarray([value for value in values if not math.isnan(value)], float)
    if not len(known):
        return Estimate()
    if len(known) == 1:
        # Of its doubt one value tells nothing, whatever it could have been.
        deviation = math.nan
    elif span is not None and np.ptp(known) == 0:
        deviation = span * _RANGE_RULE
    else:
        deviation = float(known.std(ddof=1))
    return Estimate(float(known.mean()), deviation / math.sqrt(len(known)))


def measured(records: Iterable[Record]) -> list[Record]:
    """Returns the records of victims that did not diverge."""
    return [record for record in records if "diverged" not in record]


def summarise(records: Iterable[Record]) -> list[Row]:
    """Returns a row for each recipe, scenario, adversary and defense, in order of appearance.

    The victims of a trial share its poisons and are averaged first, so that the standard errors
    are over trials; `estimate` says how they are computed. Victims that diverged are left out.
    """
    cells = group(records, *CELL)
    return [
        _summarise_cell(cell, inside, cells.get((*cell[:2], STANDARD, UNDEFENDED), []))
        for cell, inside in cells.items()
    ]


def _summarise_cell(cell: tuple[str, ...], inside: list[Record], undefended: list[Record]) -> Row:
    records = measured(inside)

    def over_trials(name: str, span: float | None = None) -> Estimate:
        return estimate([100 * value for value in by_trial(records, name).values()], span=span)

    recipe, scenario, adversary, defense = cell
    return Row(
        recipe=recipe,
        scenario=scenario,
        adversary=adversary,
        defense=defense,
        trials=len({record["trial"] for record in records}),
        victims=len(records),
        diverged=len(inside) - len(records),
        success=over_trials("success", span=100),
        clean_accuracy=over_trials("clean_accuracy"),
        target_confidence=over_trials("target_confidence"),
        target_class_accuracy=over_trials("target_class_accuracy"),
        poison_class_accuracy=over_trials("poison_class_accuracy"),
        success_without_poisons=over_trials("success_without_poisons"),
        removed_share=over_trials("removed_share"),
        removed_poisons=over_trials("removed_poisons"),
        training_seconds=_median_training(records),
        training_cost=_median_training(records) / _median_training(undefended),
        brewing_seconds=_mean(seconds(record, "brewing") for record in records),
    )


def compare(records: Iterable[Record]) -> list[Comparison]:
    """Returns what each defense changes in the trials that were run with it and without any.

    Pairs of the same trial share targets and images to poison, so much of what differs from trial
    to trial falls out of their difference. Trials of one number with other targets, as a grid has
    that went on with networks of another machine, are no pair. Nor is one with a side that
    diverged. The undefended side is that of the standard adversary.
    """
    cells = group(measured(records), *CELL)
    comparisons = []
    for (recipe, scenario, adversary, defense), defended in cells.items():
        undefended = cells.get((recipe, scenario, STANDARD, UNDEFENDED), [])
        if defense != UNDEFENDED:
            success = np.array(pairs(undefended, defended, "success")).reshape(-1, 2)
            confidence = pairs(undefended, defended, "target_confidence")
            before, after = (success >= _SUCCESS).T
            comparisons.append(
                Comparison(
                    recipe=recipe,
                    scenario=scenario,
                    adversary=adversary,
                    defense=defense,
                    pairs=len(success),
                    success=_difference(success, span=200),
                    target_confidence=_difference(confidence),
                    prevented=int((before & ~after).sum()),
                    caused=int((~before & after).sum()),
                )
            )
    return comparisons


def _difference(both: Iterable[Sequence[float]], span: float | None = None) -> Estimate:
    return estimate([100 * (after - before) for before, after in both], span=span)


def group(records: Iterable[Record], *names: str) -> dict[tuple[str, ...], list[Record]]:
    """Returns the records by the values of these fields, in order of first appearance."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(str(record[name]) for name in names), []).append(record)
    return groups


def by_trial(records: Iterable[Record], name: str) -> dict[Any, float]:
    """Returns each trial's mean of a field over its victims; NaN where no victim has it.

    The keys are the trials' numbers with their targets and adversarial class.
    """
    trials: dict[Any, list[float]] = {}
    for record in records:
        targets = tuple(record.get("target_ids", ()))
        trial = record["trial"], targets, record.get("adversarial_class")
        trials.setdefault(trial, []).append(_number(record.get(name)))
    return {trial: _mean(values) for trial, values in trials.items()}


def pairs(
    undefended: Iterable[Record], defended: Iterable[Record], name: str
) -> list[tuple[float, float]]:
    """Returns (undefended, defended) of a field for each trial that both sides have."""
    before, after = by_trial(undefended, name), by_trial(defended, name)
    both = [(before[trial], after[trial]) for trial in before if trial in after]
    return [pair for pair in both if not any(map(math.isnan, pair))]


def in_grid_order(records: Iterable[Record], flags: Mapping[str, str]) -> list[Record]:
    """Returns the records as one process would have written them.

    Args:
        records: as several processes wrote them, each when it was done.
        flags: the configuration of the grid, whose lists have an order; what they do not name
            stands behind what they do.
    """
    lists = {field: flags.get(flag, "").split(",") for field, flag in _FLAGS.items()}
    places = {
        field: {name: place for place, name in reversed(list(enumerate(names)))}
        for field, names in lists.items()
    }

    def place(record: Record) -> tuple[int, ...]:
        cell = [places[name].get(str(record[name]), len(places[name])) for name in CELL]
        return (*cell, record["trial"], record.get("victim", 0))

    return sorted(records, key=place)


def seconds(record: Record, phase: str) -> float:
    """Returns the time of a phase, NaN where the record has none."""
    return _number((record.get("seconds") or {}).get(phase))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _median_training(records: list[Record]) -> float:
    # The median is not moved by the first training of a process, which pays for the tracing.
    known = [value for each in records if (value := seconds(each, "training")) > 0]
    return statistics.median(known) if known else math.nan


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def defenses(rows: Iterable[Any]) -> list[str]:
    """Returns the defenses of rows or comparisons, the undefended column first."""
    names = dict.fromkeys(row.defense for row in rows)
    return sorted(names, key=lambda name: name != UNDEFENDED)


def title(defense: str) -> str:
    """Returns what a defense is called in tables and figures."""
    return "undefended" if defense == UNDEFENDED else defense


def family(defense: str) -> str:
    """Returns the names of a defense without their settings."""
    return re.sub(r"\([^)]*\)", "", defense)


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


def markdown_table(rows: Sequence[Row]) -> str:
    """Returns the table like the paper's Table 1 in Markdown; `table` says what is in it."""
    return markdown(table(rows))


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
