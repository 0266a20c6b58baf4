"""One trial: a threat, its poisons, and what they do to fresh victims."""

import dataclasses
import pathlib
import time
from typing import Any

import keras
import numpy as np

from tfpoison import evaluation, files
from tfpoison.data import Examples
from tfpoison.evaluation import Predictor
from tfpoison.experiment.clean_networks import NO_DEFENSE, CleanNetworks, eligible_targets
from tfpoison.experiment.settings import AttackSettings
from tfpoison.fitting.divergence import DivergedError
from tfpoison.notes import share_of_range
from tfpoison.recipes import Brewer, PoisonedExamples, Poisons, Threat, TrialKey, draw_threat
from tfpoison.recipes.threat import positions_of
from tfpoison.report import pictures
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import WORK, RunDirectory, file_name

_POISONS, _PREVIEWS = "poisons", "previews"


class Adversary:
    """Makes the poisons of every trial of one attack.

    Args:
        settings: the attack.
        clean: the clean networks, and the data.
        defense: the column of the defense that the surrogates are trained with: the one under test
            for an adaptive adversary, `"none"` otherwise.
        directory: where poisons are kept; other processes may share it.
        seed: of all trials.
        checkpoint_seconds: the time between two saves of a brewing.
        verbose: whether a progress bar is shown.
    """

    def __init__(
        self,
        settings: AttackSettings,
        clean: CleanNetworks,
        *,
        defense: str,
        directory: RunDirectory,
        seed: int,
        checkpoint_seconds: float,
        verbose: bool = False,
    ):
        self.settings = settings
        self._clean = clean
        self._defense = defense
        self._directory = directory
        self._seed = seed
        self._seconds = checkpoint_seconds
        self._verbose = verbose
        self._recipe = settings.chosen_recipe
        self._brewer: Brewer | None = None
        self._networks_trained = False
        self._eligible: np.ndarray | None = None
        self._norms: np.ndarray | None = None

    def poisons(self, trial: int) -> Poisons:
        """Returns the poisons of a trial; they are made once and kept."""
        name = self._poisons_name(self._defense, trial)
        path = self._poisons_file(name)
        started = time.monotonic()
        if not path.exists() and not self._networks_trained:
            # Before the lock: processes that wait for these poisons train networks meanwhile.
            self._train_networks()
        with self._directory.locked(f"poisons-{name}"):
            if path.exists():
                poisons = _load_poisons(path)
            else:
                poisons = self._brew(trial, name, started)
                self._draw_preview(poisons, name)
                poisons.save(path)
            self._state_file(name).unlink(missing_ok=True)
            return poisons

    def seconds(self, trial: int) -> dict[str, float]:
        """Returns the time of each phase of making a trial's poisons; none where it was lost."""
        name = self._poisons_name(self._defense, trial)
        path = self._directory.folder(_POISONS).path / f"{name}-seconds.json"
        if not path.exists():
            return {}
        with files.read_back(path, "Remove it: the trial's records lack these times."):
            return {phase: float(value) for phase, value in files.read_json(path).items()}

    def threat(self, trial: int) -> Threat:
        """Returns the threat of a trial, which is drawn once for all columns.

        It depends on the trial key and, without a trigger, on what clean networks classify rightly.
        Drawn anew where a grid goes on with another machine's networks, it might be another one.
        """
        return self._known_threat(trial) or self._draw_threat(trial)

    def _known_threat(self, trial: int) -> Threat | None:
        """Returns the threat that poisons of the trial have been made for, if any have."""
        for defense in self._clean.setup.defenses:
            path = self._poisons_file(self._poisons_name(defense, trial))
            if path.exists():
                return _load_poisons(path).threat
        return None

    def _draw_threat(self, trial: int) -> Threat:
        images, settings = self._clean.images, self.settings.threat_settings(trial)
        if self._eligible is None and not self._recipe.triggered:
            self._eligible = self._find_eligible()
        if settings.selection == "gradient_norm" and self._norms is None:
            predictor = Predictor(self._undefended(1)[0])
            self._norms = predictor.gradient_norms(images.train, images.train.labels)
        return draw_threat(
            settings,
            TrialKey(self._seed, trial),
            images.train,
            images.validation,
            images.classes,
            eligible=self._eligible,
            gradient_norms=self._norms,
            trigger=self.settings.trigger(images.image_shape),
            sources=self.settings.sources if self._recipe.crafts_on_sources else 0,
        )

    def _poisons_name(self, defense: str, trial: int) -> str:
        return file_name(self.settings.recipe, self.settings.scenario, defense, trial)

    def _poisons_file(self, name: str) -> pathlib.Path:
        return self._directory.folder(_POISONS).path / f"{name}.npz"

    def _state_file(self, name: str) -> pathlib.Path:
        return self._directory.folder(WORK).path / f"brewing-{name}.npz"

    def success_without_poisons(self, poisons: Poisons, defense: str) -> float:
        """Returns how often clean victims of a column call the targets what the adversary wants.

        NaN where there are no clean victims. Targets without a trigger are drawn among the images
        that these victims classify rightly, so that it is 0 for them.
        """
        count = self.settings.clean_networks
        targets = poisons.threat.target_images(self._clean.images.validation)
        successes = [
            evaluation.poison_success(
                Predictor(victim).probabilities(targets), poisons.threat.adversarial_class
            )
            for victim in self._clean.clean_victims(self.settings.scenario, defense, count)
        ]
        return float(np.mean(successes)) if successes else float("nan")

    def _train_networks(self) -> None:
        self._clean.train_missing(
            self.settings.scenario,
            self._defense,
            surrogates=self._recipe.surrogates,
            staggered=self._recipe.staggered,
            victims=self.settings.clean_networks,
        )
        self._networks_trained = True

    def _undefended(self, count: int) -> list[keras.Model]:
        return self._clean.surrogates(self.settings.scenario, NO_DEFENSE, count)

    def _find_eligible(self) -> np.ndarray:
        """Returns which held-out images clean networks of all columns classify rightly.

        A target that a defended network misses without any poison says nothing of the defense.
        """
        validation, scenario = self._clean.images.validation, self.settings.scenario
        count = self.settings.clean_networks
        if not count:
            return np.ones(validation.size, bool)
        victims = [
            victim
            for defense in self._clean.setup.defenses
            for victim in self._clean.clean_victims(scenario, defense, count)
        ]
        return eligible_targets([*self._undefended(1), *victims], validation)

    def _brew(self, trial: int, name: str, started: float) -> Poisons:
        images = self._clean.images
        if self._brewer is None:
            self._brewer = self._make_brewer()
        drawn = self.threat(trial)
        surrogates_ready = time.monotonic()

        def retrain(number: int, poisoned: PoisonedExamples) -> list[keras.Model]:
            count = self._recipe.surrogates
            seeds = [self._clean.seed_of("retrained", name, number, n) for n in range(count)]
            return self._clean.retrained(self.settings.scenario, self._defense, poisoned, seeds)

        poisons = self._brewer.brew(
            drawn,
            images.train,
            images.validation,
            seed=self._clean.seed_of("brewing", name),
            data_set=images.name,
            remarks={
                "recipe": self.settings.recipe,
                "scenario": self.settings.scenario,
                "surrogates_defense": self._defense,
            },
            retrain=retrain,
            state_file=self._state_file(name),
            seconds=self._seconds,
            verbose=self._verbose,
        )
        # In a file of their own: equal brews make equal poisons.
        self._directory.folder(_POISONS).write_json(
            f"{name}-seconds.json",
            {
                "surrogates": round(surrogates_ready - started, 2),
                "brewing": round(time.monotonic() - surrogates_ready, 2),
            },
        )
        return poisons

    def _make_brewer(self) -> Brewer:
        recipe = self._recipe
        which = self.settings.scenario, self._defense, recipe.surrogates
        return Brewer(
            recipe,
            self._clean.surrogates(*which, staggered=recipe.staggered),
            learning_rates=self._clean.surrogate_rates(*which, staggered=recipe.staggered),
        )

    def _draw_preview(self, poisons: Poisons, name: str) -> None:
        images = self._clean.images
        threat, names = poisons.threat, images.class_names
        some = poisons.select(np.arange(min(poisons.size, pictures.MOST_ABREAST)))
        clean = images.train.read(positions_of(images.train, some.ids))
        victims = threat.target_images(images.validation)[: pictures.MOST_ABREAST]
        target, adversarial = names[threat.target_class], names[threat.adversarial_class]
        picture, told = pictures.draw_change(
            clean / 255,
            some.poisoned_images(images.train) / 255,
            [names[label] for label in some.labels],
            targets=(f"targets: {target}, to be called {adversarial}", victims, ()),
        )
        epsilon = share_of_range(poisons.epsilon)
        caption = (
            f"{name}: {len(some.ids)} of {poisons.size} poisons, under each its label. Images of "
            f"{target} are to be called {adversarial}. ε = {epsilon}. {told}"
        )
        self._directory.folder(_PREVIEWS).write_bytes(f"{name}.png", pictures.png(picture, caption))


def _load_poisons(path: pathlib.Path) -> Poisons:
    with files.read_back(path, "Remove it: the poisons are brewed again."):
        return Poisons.load(path)


def measure_victim(
    clean: CleanNetworks,
    poisons: Poisons,
    work: RunDirectory,
    *,
    scenario: str,
    defense: str,
    seed: int,
    checkpoint_seconds: float,
) -> dict[str, Any]:
    """Trains a fresh victim on the poisoned set and returns its measures.

    Args:
        clean: the data and the trainers.
        poisons: the poisons.
        work: where the training is saved while it runs; to be discarded once the measures are on
            disk.
        scenario: what the victim starts from.
        defense: the column of its defense.
        seed: of the victim.
        checkpoint_seconds: the time between two checkpoints.

    Returns:
        The measures and the times. Those of a victim that diverges are None, as it tells nothing
        of the poisons, and `diverged` says how it did.
    """
    images, drawn = clean.images, poisons.threat
    targets = drawn.target_images(images.validation)
    started = time.monotonic()

    def confidence(predictor: Predictor) -> float:
        return float(predictor.probabilities(targets)[:, drawn.adversarial_class].mean())

    def seconds() -> dict[str, float]:
        return {"training": round(time.monotonic() - started, 2)}

    pretrained = clean.pretrained(scenario, defense)
    checkpoint = Checkpoint(work, seconds=checkpoint_seconds, every_epoch=False)
    try:
        predictor, left = clean.trainer(scenario, defense).train(
            poisons.poison(images.train),
            seed,
            checkpoint,
            pretrained=pretrained,
            watch=confidence,
        )
    except DivergedError as error:
        unknown = dict.fromkeys(("success", "target_confidence", "clean_accuracy"))
        return {**unknown, "diverged": str(error), "seconds": seconds()}
    measures = evaluation.measure(
        predictor.probabilities(images.validation),
        images.validation.labels,
        predictor.probabilities(targets),
        target_class=drawn.target_class,
        adversarial_class=drawn.adversarial_class,
        poison_classes=np.unique(poisons.clean_labels),
    )
    if clean.setup.defenses[defense].changes_training_set:
        measures |= _removal(images.train, left.kept, poisons)
    return {
        **{key: round(value, 6) for key, value in measures.items()},
        "confidence_by_epoch": [round(row["watched"], 6) for row in checkpoint.rows],
        "seconds": seconds(),
    }


def _removal(train: Examples, kept: np.ndarray, poisons: Poisons) -> dict[str, float]:
    """Returns the share of the training set that a defense removed, and of the poisons."""
    is_kept = np.isin(train.ids, train.ids[kept])
    return {
        "removed_share": float(1 - is_kept.mean()),
        "removed_poisons": float(1 - is_kept[positions_of(train, poisons.ids)].mean()),
    }


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
