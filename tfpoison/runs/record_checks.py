"""What stands in a record of an experiment: fields, types, ranges."""

import math
import sys
from collections.abc import Iterable
from typing import Any

from tfpoison.checks import check_number

Record = dict[str, Any]

# A victim goes by these.
CELL = ("recipe", "scenario", "adversary", "defense")
VICTIM = (*CELL, "trial", "victim")
# Where several threats share a training: the number of one among those of its recipe, and the
# recipes of all; "threats" says how many there are.
THREAT, TRAINING = "threat", "training"
# Measures as shares; records of earlier versions and of other settings lack some.
_SHARES = (
    *("robust_accuracy", "clean_accuracy", "target_class_accuracy", "poison_class_accuracy"),
    *("target_confidence", "true_confidence"),
    *("success_without_poisons", "robust_accuracy_without_poisons"),
    *("removed_share", "removed_poisons", "removed_clean", "detection_auc"),
)
# Between a column's defense and the repair that its victims had after their training.
_REPAIRED = ", repair="
# In place of a measure, of a victim that diverged.
_DIVERGED = "diverged"


def is_whole(record: Record) -> bool:
    """Returns whether a record says which victim it is about, and its end."""
    return all(name in record for name in VICTIM) and bool({"success", _DIVERGED} & set(record))


def outcome_of(record: Record) -> tuple:
    """Returns what a record goes by: its victim, and the number of the threat."""
    return *(record[name] for name in VICTIM), record.get(THREAT, 0)


def training_of(record: Record) -> tuple:
    """Returns what the training goes by that a record is of, perhaps with others."""
    trained = {**record, "defense": record["defense"].partition(_REPAIRED)[0]}
    return record.get(TRAINING, record["recipe"]), *(trained.get(name, 0) for name in VICTIM[1:])


def columns_of(defense: str, repairs: Iterable[str]) -> list[str]:
    """Returns the columns that come of one training: the defense's, and one for each repair."""
    return [defense, *(f"{defense}{_REPAIRED}{method}" for method in repairs)]


def check_record(record: Record) -> None:
    """Raises ValueError or TypeError where a record holds what no experiment writes."""
    for name in (*CELL, TRAINING, _DIVERGED, "adversarial_class"):
        _check_type(name, record.get(name, ""), str)
    for name in CELL:
        if not record[name].isprintable():
            raise ValueError(f"Expected `{name}` to be a text. Received: {record[name]!r}")
    for name in ("trial", "victim", THREAT, "threats"):
        check_number(name, record.get(name, 0), minimum=0, whole=True)
    if _DIVERGED not in record:
        check_number("success", record["success"], minimum=0, maximum=1)
    for name in _SHARES:
        _check_known(name, record.get(name), maximum=1)
    for name in ("target_ids", "confidence_by_epoch"):
        _check_type(name, record.get(name, []), list)
    for each in record.get("target_ids", []):
        check_number("target_ids", each, minimum=0, whole=True)
    for each in record.get("confidence_by_epoch", []):
        _check_known("confidence_by_epoch", each, maximum=1)
    seconds = record.get("seconds") or {}
    _check_type("seconds", seconds, dict)
    for phase, each in seconds.items():
        _check_known(f"seconds, {phase}", each)


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"Expected `{name}` to be a {kind.__name__}. Received: {value!r}")


def _check_known(name: str, value: Any, maximum: float = sys.float_info.max) -> None:
    """Checks a number that may be unknown: null, or NaN as earlier versions have written it."""
    if value is not None and not (isinstance(value, float) and math.isnan(value)):
        check_number(name, value, minimum=0, maximum=maximum)
