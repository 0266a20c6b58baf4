"""Victims: networks that are trained on poisons, and what comes of it."""

import dataclasses
import time
from typing import Any

import numpy as np

from tfpoison import evaluation
from tfpoison.data import Examples
from tfpoison.evaluation import Predictor
from tfpoison.experiment.clean_networks import CleanNetworks
from tfpoison.fitting.divergence import DivergedError
from tfpoison.recipes.poisons import Poisons
from tfpoison.recipes.threat import positions_of
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory, file_name


@dataclasses.dataclass(frozen=True)
class Victim:
    """Which victim a record is about.

    Attributes:
        recipe: the attack's recipe.
        scenario: what the victim starts from.
        adversary: `"standard"` or `"adaptive"`.
        defense: the column of the defense.
        trial: the number of the trial.
        victim: the number of the victim among those of the trial.
    """

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
    poisons: Poisons,
    work: RunDirectory,
    *,
    checkpoint_seconds: float,
) -> dict[str, Any]:
    """Trains a fresh victim on the poisoned set and returns its measures.

    Args:
        victim: which victim.
        networks: the set-up, and the features that the victim starts from.
        poisons: the poisons.
        work: where the training is saved while it runs; to be discarded once the measures are on
            disk.
        checkpoint_seconds: the time between two checkpoints.

    Returns:
        The measures and the times. Those of a victim that diverges are None, as it tells nothing
        of the poisons, and `diverged` says how it did.
    """
    setup, drawn = networks.setup, poisons.threat
    images = setup.images
    targets = drawn.target_images(images.validation)
    started = time.monotonic()

    def confidence(predictor: Predictor) -> float:
        return float(predictor.probabilities(targets)[:, drawn.adversarial_class].mean())

    def told(**measures: Any) -> dict[str, Any]:
        return {**measures, "seconds": {"training": round(time.monotonic() - started, 2)}}

    pretrained = networks.pretrained(victim.scenario, victim.defense)
    checkpoint = Checkpoint(work, seconds=checkpoint_seconds, every_epoch=False)
    try:
        predictor, left = setup.trainer(victim.scenario, victim.defense).train(
            poisons.poison(images.train),
            # The same in all columns: victims differ by the defense alone.
            setup.seed_of("victim", victim.trial, victim.victim),
            checkpoint,
            pretrained=pretrained,
            watch=confidence,
        )
    except DivergedError as error:
        unknown = dict.fromkeys(("success", "target_confidence", "clean_accuracy"))
        return told(**unknown, diverged=str(error))
    measures = evaluation.measure(
        predictor.probabilities(images.validation),
        images.validation.labels,
        predictor.probabilities(targets),
        target_class=drawn.target_class,
        adversarial_class=drawn.adversarial_class,
        poison_classes=np.unique(poisons.clean_labels),
    )
    if setup.settings.defenses[victim.defense].changes_training_set:
        measures |= _removal(images.train, left.kept, poisons)
    rounded = {key: round(value, 6) for key, value in measures.items()}
    by_epoch = [round(row["watched"], 6) for row in checkpoint.rows]
    return told(**rounded, confidence_by_epoch=by_epoch)


def _removal(train: Examples, kept: np.ndarray, poisons: Poisons) -> dict[str, float]:
    """Returns the share of the training set that a defense removed, and of the poisons."""
    is_kept = np.isin(train.ids, train.ids[kept])
    return {
        "removed_share": float(1 - is_kept.mean()),
        "removed_poisons": float(1 - is_kept[positions_of(train, poisons.ids)].mean()),
    }
