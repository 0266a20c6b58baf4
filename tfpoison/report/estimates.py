"""Numbers from the records of poisoning experiments: means, standard errors, pairs."""

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpoison.notes import MISSING, share_of_range
from tfpoison.runs.record_checks import CELL, Record

UNDEFENDED = "none"
STANDARD = "standard"
ADAPTIVE = "adaptive"
# The range rule: a standard deviation is about a quarter of the range of the outcomes.
_RANGE_RULE = 0.25
# From this share of its targets on, a trial counts as a success of the adversary.
_SUCCESS = 0.5
# A setting in a defense's expression that is a share of the pixel range.
_SHARE = re.compile(r"((?:epsilon|step_size)=)([0-9]*\.?[0-9]+)(?=[;)])")
# How far from a whole grey level a share may be that was meant as one.
_ROUNDING = 0.02
# The flags that list the values of each field of a cell.
_FLAGS = ("recipes", "scenarios", "adversaries", "defenses")


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
class Cell:
    """A cell of the experiment's grid.

    Attributes:
        recipe: the adversary's recipe.
        scenario: how the victims are trained.
        adversary: "standard", or "adaptive" where it knows the defense.
        defense: the defense, as the experiment was given it, or "none".
    """

    recipe: str
    scenario: str
    adversary: str
    defense: str


@dataclasses.dataclass(frozen=True)
class Row(Cell):
    """What the trials of one cell came to.

    All estimates are in percent, with NaN for what no record holds.

    Attributes:
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


_MEASURES = [field.name for field in dataclasses.fields(Row) if field.type is Estimate]


@dataclasses.dataclass(frozen=True)
class Comparison(Cell):
    """Defended trials against the same trials undefended, with the standard adversary.

    Attributes:
        pairs: the number of trials that were run both ways.
        success: defended less undefended, in percentage points.
        target_confidence: defended less undefended, in percentage points.
        prevented: trials that succeed undefended and fail defended.
        caused: trials that fail undefended and succeed defended.
    """

    pairs: int
    success: Estimate
    target_confidence: Estimate
    prevented: int
    caused: int


def estimate(values: Iterable[float], *, span: float | None = None) -> Estimate:
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
    values: dict[str, Any] = dict(zip(CELL, cell, strict=True))
    values |= {
        name: estimate(
            [100 * value for value in by_trial(records, name).values()],
            span=100 if name == "success" else None,
        )
        for name in _MEASURES
    }
    return Row(
        **values,
        trials=len({record["trial"] for record in records}),
        victims=len(records),
        diverged=len(inside) - len(records),
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
    for cell, defended in cells.items():
        undefended = cells.get((*cell[:2], STANDARD, UNDEFENDED), [])
        if cell[-1] == UNDEFENDED:
            continue
        success = np.array(pairs(undefended, defended, "success")).reshape(-1, 2)
        confidence = np.array(pairs(undefended, defended, "target_confidence")).reshape(-1, 2)
        before, after = (success >= _SUCCESS).T
        named: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        comparisons.append(
            Comparison(
                **named,
                pairs=len(success),
                success=estimate(100 * (success[:, 1] - success[:, 0]), span=200),
                target_confidence=estimate(100 * (confidence[:, 1] - confidence[:, 0])),
                prevented=int((before & ~after).sum()),
                caused=int((~before & after).sum()),
            )
        )
    return comparisons


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
    orders = [flags.get(flag, "").split(",") for flag in _FLAGS]

    def place(record: Record) -> tuple[int, ...]:
        cell = [str(record[name]) for name in CELL]
        places = [
            order.index(name) if name in order else len(order)
            for name, order in zip(cell, orders, strict=True)
        ]
        return (*places, record["trial"], record.get("victim", 0))

    return sorted(records, key=place)


def seconds(record: Record, phase: str) -> float:
    """Returns the time of a phase, NaN where the record has none."""
    return _number((record.get("seconds") or {}).get(phase))


def times(records: Sequence[Record]) -> list[list[str]]:
    """Returns the cells of a table of each phase's time; shared poisons are counted once."""
    lines = [["phase", "times", "mean, s", "total, h"]]
    for phase in dict.fromkeys(phase for each in records for phase in each.get("seconds") or {}):
        # The records of shared poisons repeat the very same time.
        spent = {
            (
                *(record[name] for name in (*CELL[:3], "trial")),
                seconds(record, phase),
                index if phase == "training" else None,
            ): seconds(record, phase)
            for index, record in enumerate(records)
        }
        known = [value for value in spent.values() if not math.isnan(value)]
        if known:
            mean, total = sum(known) / len(known), sum(known) / 3600
            lines.append([phase, str(len(known)), f"{mean:.1f}", f"{total:.2f}"])
    return lines


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _median_training(records: list[Record]) -> float:
    # The median is not moved by the first training of a process, which pays for the tracing.
    known = [value for each in records if (value := seconds(each, "training")) > 0]
    return statistics.median(known) if known else math.nan


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def title(defense: str) -> str:
    """Returns what a defense is called in tables and figures, with grey levels as "16/255"."""

    def levels(match: re.Match[str]) -> str:
        share = float(match[2])
        whole = abs(255 * share - round(255 * share)) < _ROUNDING
        return match[1] + (share_of_range(share) if whole else match[2])

    return "undefended" if defense == UNDEFENDED else _SHARE.sub(levels, defense)


def family(defense: str) -> str:
    """Returns the names of a defense without their settings."""
    return re.sub(r"\([^)]*\)", "", defense)
