"""Numbers from the records of poisoning experiments: means, standard errors, pairs."""

import dataclasses
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpoison.notes import MISSING, share_of_range
from tfpoison.runs.record_checks import CELL, THREAT, Record, columns_of, training_of

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
_FLAGS = ("recipes", "scenarios", "adversaries", "defenses", "repairs")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean and its standard error, in the same unit; NaN where there are too few values.

    Attributes:
        mean: the mean over trials; over outcomes, where several share the training of a trial.
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
    """A cell of the experiment's grid; the defense as the experiment was given it, or "none"."""

    recipe: str
    scenario: str
    adversary: str
    defense: str


@dataclasses.dataclass(frozen=True)
class Row(Cell):
    """What the trials of one cell came to; estimates are in percent, NaN for what no record holds.

    Attributes:
        trials: the number of distinct trials.
        outcomes: the number of distinct adversaries; more than trials where some share a training.
        sharing: the largest number of adversaries that shared a training.
        victims: the number of victims that were measured.
        diverged: the number of victims that diverged: they tell nothing of the poisons, and count
            as no trial.
        success: the targets that get the adversarial class.
        robust_accuracy: the targets that are classified as they should be.
        target_confidence: the probability of the adversarial class on the targets.
        target_class_accuracy: the accuracy on clean images of the targets' class.
        poison_class_accuracy: the accuracy on clean images of the poisons' class.
        success_without_poisons: the targets that get the adversarial class of a clean network.
        robust_accuracy_without_poisons: the targets that get their true class of one.
        removed_share: the training examples that the defense removed.
        removed_poisons: the poisons that it removed.
        removed_clean: the clean training examples that it removed.
        detection_auc: how often its score is larger for a poison than for a clean example.
        training_seconds: the median time of a victim's training, and of its repair.
        training_cost: that over the undefended victims' of the same recipe and scenario.
        brewing_seconds: the mean time of a brewing.
    """

    trials: int
    outcomes: int
    sharing: int
    victims: int
    diverged: int
    success: Estimate
    robust_accuracy: Estimate
    clean_accuracy: Estimate
    target_confidence: Estimate
    target_class_accuracy: Estimate
    poison_class_accuracy: Estimate
    success_without_poisons: Estimate
    robust_accuracy_without_poisons: Estimate
    removed_share: Estimate
    removed_poisons: Estimate
    removed_clean: Estimate
    detection_auc: Estimate
    training_seconds: float
    training_cost: float
    brewing_seconds: float


_OF_NETWORKS = ("clean_accuracy", "removed_share")
_MEASURES = [field.name for field in dataclasses.fields(Row) if field.type is Estimate]


@dataclasses.dataclass(frozen=True)
class Comparison(Cell):
    """Defended trials against the same trials undefended, with the standard adversary.

    Adversaries that share the training of a trial are paired one by one.

    Attributes:
        pairs: the number of trials that were run both ways.
        success: defended less undefended, in percentage points; so target_confidence.
        prevented: trials that succeed undefended and fail defended.
        caused: trials that fail undefended and succeed defended.
    """

    pairs: int
    success: Estimate
    target_confidence: Estimate
    prevented: int
    caused: int


def estimate(
    values: Iterable[float], *, span: float | None = None, trials: Iterable[Any] | None = None
) -> Estimate:
    """Returns the mean of values and its standard error.

    The standard error is the sample standard deviation (ddof = 1) divided by √n. Where all n values
    agree, as 0 successes of 20 do, that is 0 and says that there is no doubt left. With `span`,
    the range that the values could have had, the range rule (a standard deviation is about a
    quarter of the range) stands in for it: span / (4·√n). For shares, whose span is 1, that is
    0.25/√n, or 5.59 % for 20 trials: the ± 5.59 of the paper's Table 1 at 0 % and at 100 %.

    Values from one training need not be independent. With `trials`, the standard error is the
    larger of that above and of the cluster-robust one,

        √(k/(k-1) · Σ over the k trials (Σ of the trial's values - mean)²) / n,

    which is that of the trials' means where each has as many values. A single trial has none.

    Args:
        values: one for each outcome; NaNs are left out.
        span: the range the values could have had; None to leave a standard error of 0.
        trials: which values are of one trial, one for each; None where each has its own.

    Returns:
        The estimate; the standard error of a single value is NaN.
    """
    values = np.fromiter(values, float)
    is_known = ~np.isnan(values)
    known = values[is_known]
    if not len(known):
        return Estimate()
    if len(known) == 1:
        # Of its doubt one value tells nothing, whatever it could have been.
        deviation = math.nan
    elif span is not None and np.ptp(known) == 0:
        deviation = span * _RANGE_RULE
    else:
        deviation = float(known.std(ddof=1))
    error = deviation / math.sqrt(len(known))
    if trials is not None:
        _, cluster = np.unique(np.array(list(trials))[is_known], return_inverse=True)
        sums = np.bincount(cluster, known - known.mean())
        if 1 < len(sums) < len(known):
            factor = len(sums) / (len(sums) - 1)
            error = max(error, math.sqrt(factor * (sums**2).sum()) / len(known))
    return Estimate(float(known.mean()), error)


def measured(records: Iterable[Record]) -> list[Record]:
    """Returns the records of victims that did not diverge."""
    return [record for record in records if "diverged" not in record]


def summarise(records: Iterable[Record]) -> list[Row]:
    """Returns a row for each recipe, scenario, adversary and defense, in order of appearance.

    The victims of a trial share its poisons and are averaged first, so that the standard errors
    are over trials; `estimate` says how they are computed, also where adversaries share a training.
    Victims that diverged are left out.
    """
    cells = group(records, *CELL)
    return [
        _summarise_cell(cell, inside, cells.get((*cell[:2], STANDARD, UNDEFENDED), []))
        for cell, inside in cells.items()
    ]


def _summarise_cell(cell: tuple[str, ...], inside: list[Record], undefended: list[Record]) -> Row:
    records = measured(inside)
    # Adversaries that share a training have one network between them.
    networks = [record for record in records if not record.get(THREAT)]
    values: dict[str, Any] = dict(zip(CELL, cell, strict=True))
    values |= {
        name: _over_outcomes(
            by_outcome(networks if name in _OF_NETWORKS else records, name),
            span=_span(records) if name == "success" else None,
        )
        for name in _MEASURES
    }
    return Row(
        **values,
        trials=len({record["trial"] for record in records}),
        outcomes=len({(record["trial"], record.get(THREAT)) for record in records}),
        sharing=max((record.get("threats", 1) for record in records), default=1),
        victims=len(networks),
        diverged=sum("diverged" in record for record in inside if not record.get(THREAT)),
        training_seconds=_median_training(records),
        training_cost=_median_training(records) / _median_training(undefended),
        brewing_seconds=_mean(seconds(record, "brewing") for record in records),
    )


def compare(records: Iterable[Record]) -> list[Comparison]:
    """Returns what each defense changes in the trials that were run with it and without any.

    Pairs of the same trial share targets and images to poison, so much of what differs from trial
    to trial falls out of their difference. Trials of one number with other targets, as a grid has
    that went on with networks of another machine, are no pair. Nor is one with a side that
    diverged.
    """
    cells = group(measured(records), *CELL)
    comparisons = []
    for cell, defended in cells.items():
        undefended = cells.get((*cell[:2], STANDARD, UNDEFENDED), [])
        if cell[-1] == UNDEFENDED:
            continue
        success = pairs(undefended, defended, "success")
        confidence = pairs(undefended, defended, "target_confidence")
        before, after = (np.array(list(success.values())).reshape(-1, 2) >= _SUCCESS).T
        named: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        comparisons.append(
            Comparison(
                **named,
                pairs=len(success),
                success=_over_outcomes(_differences(success), span=2 * _span(defended)),
                target_confidence=_over_outcomes(_differences(confidence)),
                prevented=int((before & ~after).sum()),
                caused=int((~before & after).sum()),
            )
        )
    return comparisons


def _span(records: Iterable[Record]) -> float:
    """Returns the span of a success in percent: 100 for one target, for the share of n 100 / √n.

    As a mean of n, a share varies by √n less than the answer on one target.
    """
    fewest = min((record.get("targets", 1) for record in records), default=1)
    return 100 / math.sqrt(fewest)


def _over_outcomes(outcomes: Mapping[tuple, float], *, span: float | None = None) -> Estimate:
    """Returns the estimate, in percent, of shares as `by_outcome` has them."""
    percent = [100 * value for value in outcomes.values()]
    return estimate(percent, span=span, trials=[trial for trial, *_ in outcomes])


def _differences(pairs: Mapping[tuple, tuple[float, float]]) -> dict[tuple, float]:
    return {outcome: after - before for outcome, (before, after) in pairs.items()}


def group(records: Iterable[Record], *names: str) -> dict[tuple[str, ...], list[Record]]:
    """Returns the records by the values of these fields, in order of first appearance."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(str(record[name]) for name in names), []).append(record)
    return groups


def by_outcome(records: Iterable[Record], name: str) -> dict[tuple, float]:
    """Returns the mean of a field over the victims of each trial; NaN where no victim has it.

    Adversaries that share the training of a trial are apart. The keys are the trials' numbers, then
    the adversary's number, targets and adversarial class.
    """
    outcomes: dict[tuple, list[float]] = {}
    for record in records:
        targets = tuple(record.get("target_ids", ()))
        outcome = record["trial"], record.get(THREAT), targets, record.get("adversarial_class")
        outcomes.setdefault(outcome, []).append(_number(record.get(name)))
    return {outcome: _mean(values) for outcome, values in outcomes.items()}


def pairs(
    undefended: Iterable[Record], defended: Iterable[Record], name: str
) -> dict[tuple, tuple[float, float]]:
    """Returns (undefended, defended) of a field for each outcome that both sides have."""
    before, after = by_outcome(undefended, name), by_outcome(defended, name)
    both = {each: (before[each], after[each]) for each in before if each in after}
    return {each: pair for each, pair in both.items() if not any(map(math.isnan, pair))}


def in_grid_order(records: Iterable[Record], flags: Mapping[str, str]) -> list[Record]:
    """Returns the records as one process would have written them, by the lists of the flags."""
    *orders, defenses, repairs = (flags.get(flag, "").split(",") for flag in _FLAGS)
    orders.append([column for each in defenses for column in columns_of(each, repairs)])

    def place(record: Record) -> tuple[int, ...]:
        cell = [str(record[name]) for name in CELL]
        places = [
            order.index(name) if name in order else len(order)
            for name, order in zip(cell, orders, strict=True)
        ]
        return (*places, record["trial"], record.get("victim", 0), record.get(THREAT, 0))

    return sorted(records, key=place)


def seconds(record: Record, phase: str) -> float:
    """Returns the time of a phase, NaN where the record has none."""
    return _number((record.get("seconds") or {}).get(phase))


def times(records: Sequence[Record]) -> list[list[str]]:
    """Returns the cells of a table of each phase's time; shared poisons are counted once."""
    lines = [["phase", "times", "mean, s", "total, h"]]
    for phase in dict.fromkeys(phase for each in records for phase in each.get("seconds") or {}):
        # The records of shared poisons, and those of a shared training, repeat the very same time.
        spent = {_spent_on(record, phase): seconds(record, phase) for record in records}
        known = [value for value in spent.values() if not math.isnan(value)]
        if known:
            mean, total = sum(known) / len(known), sum(known) / 3600
            lines.append([phase, str(len(known)), f"{mean:.1f}", f"{total:.2f}"])
    return lines


def _spent_on(record: Record, phase: str) -> tuple:
    """Returns what tells the time of a phase from that of others."""
    if phase == "training":
        return training_of(record)
    if phase == "repair":
        return *training_of(record), record["defense"]
    own = (record.get(name) for name in (*CELL[:3], "trial", THREAT))
    return *own, seconds(record, phase)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _median_training(records: list[Record]) -> float:
    """Returns the median time until a victim is trained, and repaired where it is."""
    # The median is not moved by the first training of a process, which pays for the tracing.
    known = [
        training + (0 if math.isnan(repair := seconds(each, "repair")) else repair)
        for each in records
        if (training := seconds(each, "training")) > 0
    ]
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
