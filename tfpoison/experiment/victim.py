"""Victims: networks that are trained on poisons, and what comes of it."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpoison import evaluation
from tfpoison.data import Examples
from tfpoison.evaluation import Predictor
from tfpoison.experiment.clean_networks import CleanNetworks
from tfpoison.experiment.repairs import NO_REPAIRS, Repairs
from tfpoison.fitting.training_set import TrainingSet
from tfpoison.recipes.poisoned_examples import PoisonedExamples
from tfpoison.recipes.poisons import Poisons
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.record_checks import columns_of
from tfpoison.runs.run_directory import RunDirectory, file_name
from tfpoison.training.divergence import DivergedError

# Of an adversary's targets, after every epoch: with a trigger there are thousands.
_MOST_WATCHED = 500


@dataclasses.dataclass(frozen=True)
class Victim:
    """Which victim records are about; recipes that share the training have + between."""

    recipe: str
    scenario: str
    adversary: str
    defense: str
    trial: int
    victim: int

    @property
    def name(self) -> str:
        """The victim's name, for files."""
        return file_name(*(getattr(self, field.name) for field in dataclasses.fields(self)))


def measure_victim(
    victim: Victim,
    networks: CleanNetworks,
    poisons: Sequence[Poisons],
    work: RunDirectory,
    *,
    checkpoint_seconds: float,
    repairs: Repairs = NO_REPAIRS,
) -> dict[str, list[dict[str, Any]]]:
    """Trains a fresh victim on poisons that share the training, and repairs it.

    Returns:
        For each column that comes of it the measures of each adversary. Those of a victim that
        diverges, or that a method cannot repair, are None, as it tells nothing of the poisons, and
        `diverged` says why. The training is saved in `work`, to be discarded once the measures are
        on disk.
    """
    setup, images = networks.setup, networks.setup.images
    columns = columns_of(victim.defense, repairs.methods)
    targets = [each.threat.target_images(images.validation) for each in poisons]
    started = time.monotonic()

    def confidences(predictor: Predictor) -> dict[str, float]:
        watched = [predictor.probabilities(each[:_MOST_WATCHED]) for each in targets]
        return {
            _watched(number): float(watched[number][:, each.threat.adversarial_class].mean())
            for number, each in enumerate(poisons)
        }

    for each in poisons:
        each.check(images.train)
    pretrained = networks.pretrained(victim.scenario, victim.defense)
    checkpoint = Checkpoint(work, seconds=checkpoint_seconds, every_epoch=False)
    try:
        predictor, left = setup.trainer(victim.scenario, victim.defense).train(
            PoisonedExamples(images.train, *poisons),
            # The same in all columns: victims differ by the defense alone.
            setup.seed_of("victim", victim.trial, victim.victim),
            checkpoint,
            pretrained=pretrained,
            watch=confidences,
        )
    except DivergedError as error:
        lost = _lost(error) | {"seconds": _training(started)}
        return dict.fromkeys(columns, [lost] * len(poisons))
    training, validation = _training(started), images.validation
    seed = setup.seed_of("repair", victim.trial, victim.victim)
    some = repairs.choose(validation, poisons, seed)
    repaired = repairs.repaired(predictor.network, validation.select(some), seed)
    measured = {}
    for column, (outcome, seconds) in zip(columns, [(predictor, {}), *repaired], strict=True):
        measures = (
            [_lost(outcome)] * len(poisons)
            if isinstance(outcome, ValueError)
            else _measure(outcome, validation, poisons, targets, used=validation.ids[some])
        )
        measured[column] = [{**own, "seconds": training | seconds} for own in measures]
    removes = setup.settings.defenses[victim.defense].changes_training_set
    for number, of_one in enumerate(measured[victim.defense]):
        if removes:
            of_one |= _rounded(_removal(images.train, left, poisons[number], poisons))
        of_one["confidence_by_epoch"] = [round(row[_watched(number)], 6) for row in checkpoint.rows]
    return measured


def _training(started: float) -> dict[str, float]:
    return {"training": round(time.monotonic() - started, 2)}


def _lost(error: ValueError) -> dict[str, Any]:
    unknown = dict.fromkeys(("success", "target_confidence", "clean_accuracy"))
    return {**unknown, "diverged": str(error)}


def _rounded(measures: dict[str, float]) -> dict[str, Any]:
    return {name: round(value, 6) for name, value in measures.items()}


def _measure(
    predictor: Predictor,
    validation: Examples,
    poisons: Sequence[Poisons],
    targets: Sequence[np.ndarray],
    *,
    used: np.ndarray,
) -> list[dict[str, Any]]:
    """Returns each adversary's measures on its targets, by the images that no repair has used."""
    rest, clean = ~np.isin(validation.ids, used), predictor.probabilities(validation)
    measures = []
    for each, its_targets in zip(poisons, targets, strict=True):
        threat = each.threat
        unused = ~np.isin(threat.target_ids, used)
        of_one = evaluation.measure(
            clean[rest],
            validation.labels[rest],
            predictor.probabilities(its_targets[unused]),
            target_labels=threat.target_labels(validation)[unused],
            adversarial_class=threat.adversarial_class,
            poison_classes=np.unique(each.clean_labels),
        )
        measures.append(_rounded(of_one))
    return measures


def _watched(number: int) -> str:
    """Returns what an adversary's confidence is called in the checkpoint's rows."""
    return f"watched_{number}" if number else "watched"


def _removal(
    train: Examples, left: TrainingSet, poisons: Poisons, everyone: Sequence[Poisons]
) -> dict[str, float]:
    """Returns what a defense removed: of the training set, of one adversary's poisons, of the rest.

    Covers and the poisons of others are neither to be found nor to be spared. `detection_auc` is
    the ROC AUC of the filter's scores, where it has any.
    """
    is_kept = np.isin(train.ids, train.ids[left.kept])
    wanted = np.isin(train.ids, poisons.ids[~poisons.threat.is_cover])
    among = wanted | ~np.isin(train.ids, np.concatenate([each.ids for each in everyone]))
    scores = np.zeros(train.size) if left.scores is None else left.scores
    found = evaluation.detection(scores[among], ~is_kept[among], wanted[among])
    return {
        "removed_share": float(1 - is_kept.mean()),
        "removed_poisons": found["recall"],
        "removed_clean": found["false_positive_rate"],
        **({} if left.scores is None else {"detection_auc": found["roc_auc"]}),
    }
