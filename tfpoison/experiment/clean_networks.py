"""Networks trained on clean data: surrogates, pretrained features, and clean victims.

Each is trained once, by one of the processes that share the directory, and kept.
"""

import dataclasses
import functools
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import numpy as np

from tfpoison import files
from tfpoison.data import Examples, ImageClassification
from tfpoison.defenses import Defense
from tfpoison.evaluation import Predictor, most_probable
from tfpoison.experiment import data as experiment_data
from tfpoison.experiment.settings import PretrainingSettings
from tfpoison.fitting import stream as fitting
from tfpoison.fitting.divergence import DivergedError
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import (
    Trainer,
    Weights,
    load_weights,
    network_maker,
    save_weights,
    set_up_keras,
)
from tfpoison.recipes import scenario
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import WORK, RunDirectory, file_name

NO_DEFENSE = "none"
_FOLDER = "networks"


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """How every network of an experiment is trained.

    Attributes:
        data: batch size and augmentation.
        network: the network.
        training: of victims and surrogates.
        pretraining: of features; None where no scenario needs any.
        defenses: the defenses by the names of their columns; `"none"` is among them.
    """

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    pretraining: PretrainingSettings | None
    defenses: dict[str, Defense]


@dataclasses.dataclass(frozen=True)
class _Kind:
    """Which clean network: its role and number, its start, its column, the epoch it stops after."""

    role: str
    number: int
    scenario: str
    defense: str
    stop: int


class CleanNetworks:
    """The clean networks of an experiment.

    Args:
        directory: where they are kept; other processes may share it.
        setup: how networks are trained.
        images: the data set of the experiment.
        others: the data set of the pretraining, where there is one.
        checkpoint_seconds: the time between two checkpoints of a training.
        verbose: whether it is told what is trained.
    """

    def __init__(
        self,
        directory: RunDirectory,
        setup: TrainingSetup,
        images: ImageClassification,
        others: ImageClassification | None,
        *,
        checkpoint_seconds: float,
        verbose: bool,
    ):
        self.setup = setup
        self.images = images
        self._others = others
        self._directory = directory
        self._seconds = checkpoint_seconds
        self._verbose = verbose
        # The images' statistics are the same for all.
        self._network_maker = functools.cache(
            functools.partial(network_maker, setup.network, images)
        )
        self._trainers: dict[tuple[str, str, int], Trainer] = {}
        self._pretrained: dict[str, keras.Model | None] = {}

    @classmethod
    def open(
        cls,
        directory: RunDirectory,
        setup: TrainingSetup,
        *,
        checkpoint_seconds: float,
        verbose: bool,
    ) -> Self:
        """Loads the images and sets Keras up; the arguments are those of the class."""
        set_up_keras(setup.training)
        images, others = experiment_data.load(setup.data, setup.pretraining)
        fitting.check_data(images.description, setup.network, setup.defenses.values())
        return cls(
            directory,
            setup,
            images,
            others,
            checkpoint_seconds=checkpoint_seconds,
            verbose=verbose,
        )

    def surrogates(
        self, scenario_name: str, defense: str, count: int, *, staggered: bool = False
    ) -> list[keras.Model]:
        """Returns networks to craft against.

        Args:
            scenario_name: what they start from.
            defense: the column of the defense that they are trained with.
            count: how many.
            staggered: whether they stop at different epochs, the last one at the end.
        """
        which = self._surrogates(scenario_name, defense, count, staggered)
        return [self._network(each) for each in which]

    def surrogate_rates(
        self, scenario_name: str, defense: str, count: int, *, staggered: bool = False
    ) -> list[float]:
        """Returns the learning rates that the training of `surrogates` has come to."""
        trainer = self.trainer(scenario_name, defense)
        return [
            trainer.last_learning_rate(self.images.train, stop)
            for stop in self._stops(count, staggered)
        ]

    def clean_victims(self, scenario_name: str, defense: str, count: int) -> list[keras.Model]:
        """Returns victims of a column as they are without poisons."""
        return [self._network(each) for each in self._victims(scenario_name, defense, count)]

    def train_missing(
        self,
        scenario_name: str,
        defense: str,
        *,
        surrogates: int,
        staggered: bool = False,
        victims: int,
    ) -> None:
        """Trains what an adversary is going to ask for and is not there yet.

        Processes that share the directory share the work: each takes the networks that no other one
        is at. Those that another one is still at are waited for when they are asked for.

        Args:
            scenario_name: what the networks start from.
            defense: the column of the defense that the surrogates are trained with.
            surrogates: how many surrogates.
            staggered: whether they stop at different epochs.
            victims: how many clean victims of each column.
        """
        wanted = self._surrogates(scenario_name, defense, surrogates, staggered)
        for column in self.setup.defenses:
            wanted += self._victims(scenario_name, column, victims)
        for each in wanted:
            self._weights(each, wait=False)

    def pretrained(self, scenario_name: str, defense: str) -> keras.Model | None:
        """Returns the network whose features a scenario starts from; None for from scratch."""
        pretraining = self.setup.pretraining
        if not scenario.get(scenario_name).pretrained:
            return None
        assert pretraining is not None and self._others is not None
        column = defense if pretraining.defended else NO_DEFENSE
        if column not in self._pretrained:
            trainer = self._trainer("pretraining", column, self._others.classes)
            name = file_name("pretrained", column)
            weights = self._train_once(
                name, trainer, self._others.train, self.seed_of("pretraining")
            )
            assert weights is not None
            network = trainer.fresh_network(0)
            self._fill(network, name, weights)
            self._pretrained[column] = network
        return self._pretrained[column]

    def trainer(self, scenario_name: str, defense: str) -> Trainer:
        """Returns the trainer of victims."""
        return self._trainer(scenario_name, defense, self.images.classes)

    def seed_of(self, *parts: object) -> int:
        """Returns the seed of a training that goes by these names and numbers."""
        name = "/".join(map(str, parts))
        entropy = [self.setup.training.seed, zlib.crc32(name.encode())]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0]) % 2**31

    def retrained(
        self, scenario_name: str, defense: str, examples: Examples, seeds: Sequence[int]
    ) -> list[keras.Model]:
        """Trains surrogates on a poisoned set; nothing of them is kept."""
        trainer = self.trainer(scenario_name, defense)
        pretrained = self.pretrained(scenario_name, defense)
        networks = []
        for seed in seeds:
            work, name = self._directory.folder(WORK), f"retrained-{seed}"
            checkpoint = Checkpoint(work.folder(name), seconds=0, every_epoch=False)
            predictor, _ = trainer.train(examples, seed, checkpoint, pretrained=pretrained)
            network = trainer.fresh_network(0, pretrained)
            network.set_weights(predictor.network.get_weights())
            networks.append(network)
            work.discard(name)
        return networks

    def _stops(self, count: int, staggered: bool) -> list[int]:
        epochs = self.setup.training.epochs
        if not staggered:
            return [epochs] * count
        return [max(epochs * (number + 1) // count, 1) for number in range(count)]

    def _surrogates(
        self, scenario_name: str, defense: str, count: int, staggered: bool
    ) -> list["_Kind"]:
        return [
            _Kind("surrogate", number, scenario_name, defense, stop)
            for number, stop in enumerate(self._stops(count, staggered))
        ]

    def _victims(self, scenario_name: str, defense: str, count: int) -> list["_Kind"]:
        stops = enumerate(self._stops(count, staggered=False))
        return [_Kind("clean", number, scenario_name, defense, stop) for number, stop in stops]

    def _network(self, kind: "_Kind") -> keras.Model:
        weights = self._weights(kind)
        assert weights is not None
        trainer = self.trainer(kind.scenario, kind.defense)
        network = trainer.fresh_network(0, self.pretrained(kind.scenario, kind.defense))
        self._fill(network, self._name(kind), weights)
        return network

    def _fill(self, network: keras.Model, name: str, weights: Weights) -> None:
        path = self._directory.path / _FOLDER / f"{name}.npz"
        with files.read_back(path, "Remove it: the network is trained again."):
            network.set_weights(weights)

    def _name(self, kind: "_Kind") -> str:
        name = file_name(kind.role, kind.scenario, kind.defense, kind.number)
        whole = kind.stop == self.setup.training.epochs
        return name if whole else f"{name}-epoch{kind.stop}"

    def _weights(self, kind: "_Kind", *, wait: bool = True) -> Weights | None:
        return self._train_once(
            self._name(kind),
            self.trainer(kind.scenario, kind.defense),
            self.images.train,
            self.seed_of(kind.role, kind.number),
            pretrained=lambda: self.pretrained(kind.scenario, kind.defense),
            until_epoch=kind.stop,
            wait=wait,
        )

    def _train_once(
        self,
        name: str,
        trainer: Trainer,
        examples: Examples,
        seed: int,
        *,
        pretrained: Callable[[], keras.Model | None] = lambda: None,
        until_epoch: int | None = None,
        wait: bool = True,
    ) -> Weights | None:
        """Returns the weights; None where another process is at them and we do not wait."""
        folder = self._directory.folder(_FOLDER)
        file = f"{name}.npz"
        directory = self._directory
        with directory.locked(name) if wait else directory.try_lock(name) as ours:
            if not ours:
                return None
            weights = load_weights(folder, file)
            if weights is None:
                weights = self._train(
                    name,
                    trainer,
                    examples,
                    seed,
                    pretrained=pretrained(),
                    until_epoch=until_epoch,
                )
                save_weights(folder, file, weights)
            self._directory.folder(WORK).discard(name)
            return weights

    def _train(
        self, name: str, trainer: Trainer, examples: Examples, seed: int, **settings: Any
    ) -> Weights:
        """Trains a network and returns its weights; the arguments are those of `Trainer.train`."""
        started = time.monotonic()
        work = self._directory.folder(WORK).folder(name)
        checkpoint = Checkpoint(work, seconds=self._seconds, every_epoch=False)
        try:
            predictor, _ = trainer.train(examples, seed, checkpoint, **settings)
        except DivergedError as error:
            raise DivergedError(
                f"The network {name} diverges on clean data, and nothing can be measured without "
                f"it. {error}"
            ) from error
        if self._verbose:
            accuracy = checkpoint.rows[-1]["accuracy"]
            seconds = time.monotonic() - started
            print(f"trained {name}: training accuracy {accuracy:.3f}, {seconds:.0f} s")
        return predictor.network.get_weights()

    def _trainer(self, scenario_name: str, defense: str, classes: int) -> Trainer:
        key = scenario_name, defense, classes
        if key not in self._trainers:
            training = self.setup.training
            start = scenario.get("from_scratch")
            if scenario_name == "pretraining":
                assert self.setup.pretraining is not None
                training = self.setup.pretraining.training(training)
            else:
                start = scenario.get(scenario_name)
            self._trainers[key] = Trainer(
                self._network_maker(classes),
                classes,
                self.setup.data,
                training,
                self.setup.defenses[defense],
                start,
            )
        return self._trainers[key]


def eligible_targets(networks: Sequence[keras.Model], validation: Examples) -> np.ndarray:
    """Returns which held-out images all networks classify rightly, bool (validation,)."""
    eligible = np.ones(validation.size, bool)
    for network in networks:
        answers = most_probable(Predictor(network).probabilities(validation))
        eligible &= answers == validation.labels
    return eligible
