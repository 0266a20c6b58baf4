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
from tfpoison.fitting.divergence import DivergedError
from tfpoison.fitting.training_set import TrainingSet
from tfpoison.recipes.poisoned_examples import PoisonedExamples
from tfpoison.recipes.poisons import Poisons
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory, file_name


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
) -> list[dict[str, Any]]:
    """Trains a fresh victim on poisons that share the training; returns each adversary's measures.

    Those of a victim that diverges are None, as it tells nothing of the poisons, and `diverged`
    says how it did. The training is saved in `work`, to be discarded once the measures are on disk.
    """
    setup, images = networks.setup, networks.setup.images
    targets = [each.threat.target_images(images.validation) for each in poisons]
    started = time.monotonic()

    def confidences(predictor: Predictor) -> dict[str, float]:
        return {
            _watched(number): float(
                predictor.probabilities(targets[number])[:, each.threat.adversarial_class].mean()
            )
            for number, each in enumerate(poisons)
        }

    def told(measures: dict[str, Any]) -> dict[str, Any]:
        return {**measures, "seconds": {"training": round(time.monotonic() - started, 2)}}

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
        unknown = dict.fromkeys(("success", "target_confidence", "clean_accuracy"))
        return [told({**unknown, "diverged": str(error)})] * len(poisons)
    clean, measures = predictor.probabilities(images.validation), []
    for number, each in enumerate(poisons):
        of_one = evaluation.measure(
            clean,
            images.validation.labels,
            predictor.probabilities(targets[number]),
            target_labels=each.threat.target_labels(images.validation),
            adversarial_class=each.threat.adversarial_class,
            poison_classes=np.unique(each.clean_labels),
        )
        if setup.settings.defenses[victim.defense].changes_training_set:
            of_one |= _removal(images.train, left, each, poisons)
        rounded: dict[str, Any] = {key: round(value, 6) for key, value in of_one.items()}
        by_epoch = [round(row[_watched(number)], 6) for row in checkpoint.rows]
        measures.append(rounded | {"confidence_by_epoch": by_epoch})
    return list(map(told, measures))


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
