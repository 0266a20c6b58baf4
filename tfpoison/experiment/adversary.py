"""The adversary: the threat and the poisons of every trial of one attack."""

import functools
import pathlib
import time
from collections.abc import Sequence

import keras
import numpy as np

from tfpoison import evaluation, files
from tfpoison.data import Description
from tfpoison.evaluation import Predictor
from tfpoison.experiment import clean_networks
from tfpoison.experiment import data as experiment_data
from tfpoison.experiment.clean_networks import CleanNetwork, CleanNetworks, eligible_targets
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.setup import NO_DEFENSE, SetupSettings
from tfpoison.notes import share_of_range
from tfpoison.recipes.brewing import Brewer
from tfpoison.recipes.drawing import TrialKey, draw_threat
from tfpoison.recipes.poisoned_examples import PoisonedExamples
from tfpoison.recipes.poisons import Poisons
from tfpoison.recipes.threat import Threat, positions_of
from tfpoison.report import pictures
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import WORK, RunDirectory, file_name

_POISONS, _PREVIEWS = "poisons", "previews"
_LONGEST_NAME = 60


class Adversary:
    """Makes the poisons of every trial of one attack.

    Args:
        networks: the clean networks, with the set-up.
        column: the column of the defense that the surrogates are trained with: the one under test
            for an adaptive adversary, `"none"` otherwise.
        directory: where poisons are kept; other processes may share it.
        seed: of all trials.
        earlier: those of other attacks that share the training of a trial; their threats are drawn
            first.

    Attributes:
        numbers: of the attack's threats that share a training.
    """

    def __init__(
        self,
        settings: AttackSettings,
        networks: CleanNetworks,
        *,
        column: str,
        directory: RunDirectory,
        seed: int,
        checkpoint_seconds: float,
        verbose: bool = False,
        earlier: "Sequence[Adversary]" = (),
    ):
        self.settings = settings
        self._recipe = settings.chosen_recipe
        self._networks = networks
        self._setup = networks.setup
        self._column = column
        self._directory = directory
        self._seed = seed
        self._seconds = checkpoint_seconds
        self._verbose = verbose
        self.numbers = range(settings.adversaries)
        self._earlier = earlier
        self._networks_trained = False
        self._threats: dict[tuple[int, int], Threat] = {}

    def poisons(self, trial: int, number: int = 0) -> Poisons:
        """Returns the poisons of a trial's threat; they are made once and kept."""
        name = self._poisons_name(self._column, trial, number)
        path = self._poisons_file(name)
        started = time.monotonic()
        if not path.exists() and not self._networks_trained:
            # Before the lock: processes that wait for these poisons train networks meanwhile.
            victims = [
                each for column in self._setup.settings.defenses for each in self._victims(column)
            ]
            self._networks.train_missing([*self._surrogates(), *victims])
            self._networks_trained = True
        with self._directory.locked(f"poisons-{name}"):
            if path.exists():
                poisons = _load_poisons(path)
            else:
                poisons = self._brew(self.threat(trial, number), name, started)
                self._draw_preview(poisons, name)
                poisons.save(path)
            self._state_file(name).unlink(missing_ok=True)
            return poisons

    def seconds(self, trial: int, number: int = 0) -> dict[str, float]:
        """Returns the time of each phase of making a threat's poisons; none where it was lost."""
        name = self._poisons_name(self._column, trial, number)
        path = self._directory.folder(_POISONS).path / f"{name}-seconds.json"
        if not path.exists():
            return {}
        with files.read_back(path, "Remove it: the trial's records lack these times."):
            return {phase: float(value) for phase, value in files.read_json(path).items()}

    def threat(self, trial: int, number: int = 0) -> Threat:
        """Returns a threat of a trial, which is drawn once for all columns.

        It depends on the trial key and, without a trigger, on what clean networks classify rightly.
        Drawn anew where a grid goes on with another machine's networks, it might be another one.
        """
        if (trial, number) not in self._threats:
            names = (
                self._poisons_name(column, trial, number)
                for column in self._setup.settings.defenses
            )
            paths = filter(pathlib.Path.exists, map(self._poisons_file, names))
            made = next(paths, None)
            self._threats[trial, number] = (
                self._draw_threat(trial, number) if made is None else _load_poisons(made).threat
            )
        return self._threats[trial, number]

    def without_poisons(self, poisons: Poisons, column: str) -> dict[str, float]:
        """Returns what clean victims of a column call the targets, as shares of these.

        `success_without_poisons`, what the adversary wants, and `robust_accuracy_without_poisons`,
        what they are: a trigger may well hide that from any network. NaN where there are no clean
        victims. Targets without a trigger are drawn among the images that these victims classify
        rightly, so that they are 0 and 1 for them.
        """
        validation, threat = self._setup.images.validation, poisons.threat
        targets, labels = threat.target_images(validation), threat.target_labels(validation)
        networks = [self._networks.get(each) for each in self._victims(column)]
        answers = [Predictor(each).probabilities(targets) for each in networks]
        wanted, right = np.full_like(labels, threat.adversarial_class), labels
        return {
            f"{name}_without_poisons": (
                float(np.mean([evaluation.accuracy(each, classes) for each in answers]))
                if answers
                else float("nan")
            )
            for name, classes in [("success", wanted), ("robust_accuracy", right)]
        }

    # Which networks.

    def _surrogates(self) -> list[CleanNetwork]:
        return clean_networks.surrogates(
            self.settings.scenario,
            self._column,
            self._recipe.surrogates,
            epochs=self._setup.settings.training.epochs,
            staggered=self._recipe.staggered,
        )

    def _victims(self, column: str) -> list[CleanNetwork]:
        count = self.settings.clean_networks
        return clean_networks.clean_victims(self.settings.scenario, column, count)

    @functools.cached_property
    def _undefended(self) -> keras.Model:
        return self._networks.get(CleanNetwork("surrogate", self.settings.scenario, NO_DEFENSE))

    @functools.cached_property
    def _brewer(self) -> Brewer:
        which, train = self._surrogates(), self._setup.images.train
        trainer = self._setup.trainer(self.settings.scenario, self._column)
        epochs = self._setup.settings.training.epochs
        return Brewer(
            self._recipe,
            [self._networks.get(each) for each in which],
            learning_rates=[
                trainer.last_learning_rate(train, each.stop or epochs) for each in which
            ],
            transform=trainer.defense.transform,
        )

    @functools.cached_property
    def _eligible(self) -> np.ndarray:
        """Which held-out images clean networks of all columns classify rightly.

        A target that a defended network misses without any poison says nothing of the defense.
        """
        victims = [
            each for column in self._setup.settings.defenses for each in self._victims(column)
        ]
        asked = [self._undefended, *map(self._networks.get, victims)] if victims else []
        return eligible_targets(asked, self._setup.images.validation)

    @functools.cached_property
    def _gradient_norms(self) -> np.ndarray:
        train = self._setup.images.train
        return Predictor(self._undefended).gradient_norms(train, train.labels)

    # Making.

    def _draw_threat(self, trial: int, number: int) -> Threat:
        beside = [each.threat(trial, n) for each in self._earlier for n in each.numbers]
        beside += [self.threat(trial, earlier) for earlier in range(number)]
        images, settings = self._setup.images, self.settings.threat_settings(trial)
        by_norm = settings.selection == "gradient_norm"
        return draw_threat(
            settings,
            TrialKey(self._seed, trial, len(beside)),
            images.train,
            images.validation,
            images.classes,
            eligible=None if self._recipe.triggered else self._eligible,
            gradient_norms=self._gradient_norms if by_norm else None,
            trigger=self.settings.trigger(images.image_shape),
            sources=self.settings.sources if self._recipe.crafts_on_sources else 0,
            beside=beside,
        )

    def _brew(self, threat: Threat, name: str, started: float) -> Poisons:
        images, brewer = self._setup.images, self._brewer
        surrogates_ready = time.monotonic()
        poisons = brewer.brew(
            threat,
            images.train,
            images.validation,
            seed=self._setup.seed_of("brewing", name),
            data_set=images.name,
            remarks={
                "recipe": self.settings.recipe,
                "scenario": self.settings.scenario,
                "surrogates_defense": self._column,
            },
            retrain=functools.partial(self._retrain, name),
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

    def _retrain(self, name: str, number: int, examples: PoisonedExamples) -> list[keras.Model]:
        """Trains surrogates on a poisoned set; nothing of them is kept."""
        scenario, setup = self.settings.scenario, self._setup
        trainer = setup.trainer(scenario, self._column)
        start = self._networks.pretrained(scenario, self._column)
        work, networks = self._directory.folder(WORK), []
        for which in range(self._recipe.surrogates):
            seed = setup.seed_of("retrained", name, number, which)
            checkpoint = Checkpoint(work.folder(f"retrained-{seed}"), seconds=0, every_epoch=False)
            predictor, _ = trainer.train(examples, seed, checkpoint, pretrained=start)
            network = trainer.fresh_network(0, start)
            network.set_weights(predictor.network.get_weights())
            networks.append(network)
            work.discard(f"retrained-{seed}")
        return networks

    def _draw_preview(self, poisons: Poisons, name: str) -> None:
        images = self._setup.images
        threat, names = poisons.threat, images.class_names
        some = poisons.select(np.arange(min(poisons.size, pictures.MOST_ABREAST)))
        clean = images.train.read(positions_of(images.train, some.ids))
        victims = threat.target_images(images.validation)[: pictures.MOST_ABREAST]
        target, adversarial = threat.target_name(names), names[threat.adversarial_class]
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

    # Files.

    def _poisons_name(self, column: str, trial: int, number: int) -> str:
        numbers = (trial, number) if number else (trial,)
        return file_name(self.settings.recipe, self.settings.scenario, column, *numbers)

    def _poisons_file(self, name: str) -> pathlib.Path:
        return self._directory.folder(_POISONS).path / f"{name}.npz"

    def _state_file(self, name: str) -> pathlib.Path:
        return self._directory.folder(WORK).path / f"brewing-{name}.npz"


def _load_poisons(path: pathlib.Path) -> Poisons:
    with files.read_back(path, "Remove it: the poisons are brewed again."):
        return Poisons.load(path)


def check_attacks(
    attacks: tuple[AttackSettings, ...],
    setup: SetupSettings,
    description: Description,
    trials: range,
) -> None:
    """Raises ValueError where attacks cannot be made in a set-up, as far as can be told unread.

    Of published set-ups each trial has its own.
    """
    if setup.training.label_smoothing and any(each.optimised for each in attacks):
        raise ValueError(
            "Expected no label_smoothing where poisons are crafted: surrogates are crafted against "
            f"with the plain loss. Received: {setup.training.label_smoothing}"
        )
    for attack in attacks:
        if len(attack.recipe) > _LONGEST_NAME:
            raise ValueError(
                f"Expected recipes of up to {_LONGEST_NAME} characters: files are named by them. "
                f"Received: {attack.recipe}"
            )
        if attack.chosen_scenario.pretrained and setup.pretraining is None:
            raise ValueError(
                f"Expected a pretraining for the scenario {attack.scenario!r}: set "
                "--pretraining_source. Received none."
            )
        if description.image_shape is not None:
            attack.trigger(description.image_shape)
        for trial in trials if attack.setups else trials[:1]:
            threat = attack.threat_settings(trial)
            experiment_data.check_threat(threat, setup.pretraining)
            threat.check_description(description)
