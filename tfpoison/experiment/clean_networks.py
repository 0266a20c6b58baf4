"""Networks trained on clean data: surrogates, pretrained features, and clean victims.

Each is trained once, by one of the processes that share the directory, and kept. The set-up says
how each is trained; who needs networks says which.
"""

import dataclasses
import time
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from tfpoison import files
from tfpoison.data import Examples
from tfpoison.evaluation import Predictor, most_probable
from tfpoison.experiment.setup import PRETRAINING, Setup
from tfpoison.fitting.trainer import Weights, load_weights, save_weights
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import WORK, RunDirectory, file_name
from tfpoison.training.divergence import DivergedError

_FOLDER = "networks"


@dataclasses.dataclass(frozen=True)
class CleanNetwork:
    """Which network.

    Attributes:
        role: `"surrogate"`, `"clean"` for a victim, or `"pretrained"`.
        scenario: what it starts from; `PRETRAINING` for features.
        column: whose defense it is trained with.
        stop: the epoch that its training stops after; None for the last one.
    """

    role: str
    scenario: str
    column: str
    number: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        """Its name, for files."""
        if self.scenario == PRETRAINING:
            return file_name(self.role, self.column)
        name = file_name(self.role, self.scenario, self.column, self.number)
        return name if self.stop is None else f"{name}-epoch{self.stop}"

    @property
    def seed_parts(self) -> tuple[object, ...]:
        """What its seed is made of: networks of one number differ by their columns alone."""
        return (PRETRAINING,) if self.scenario == PRETRAINING else (self.role, self.number)


def surrogates(
    scenario: str, column: str, count: int, *, epochs: int, staggered: bool = False
) -> list[CleanNetwork]:
    """Returns networks to craft against; if staggered, they stop at different epochs."""
    stops: list[int | None] = [None] * count
    if staggered:
        ends = [max(epochs * (number + 1) // count, 1) for number in range(count)]
        stops = [None if end == epochs else end for end in ends]
    return [
        CleanNetwork("surrogate", scenario, column, number, stop)
        for number, stop in enumerate(stops)
    ]


def clean_victims(scenario: str, column: str, count: int) -> list[CleanNetwork]:
    """Returns victims of a column as they are without poisons."""
    return [CleanNetwork("clean", scenario, column, number) for number in range(count)]


class CleanNetworks:
    """The clean networks of an experiment, kept in a directory that processes may share."""

    def __init__(
        self, directory: RunDirectory, setup: Setup, *, checkpoint_seconds: float, verbose: bool
    ):
        self.setup = setup
        self._directory = directory
        self._seconds = checkpoint_seconds
        self._verbose = verbose
        self._pretrained: dict[str, keras.Model] = {}

    def get(self, which: CleanNetwork) -> keras.Model:
        """Returns a network, which is trained where it is not there yet."""
        weights = self._weights(which, wait=True)
        assert weights is not None
        start = self.pretrained(which.scenario, which.column)
        network = self.setup.trainer(which.scenario, which.column).fresh_network(0, start)
        path = self._directory.path / _FOLDER / f"{which.name}.npz"
        with files.read_back(path, "Remove it: the network is trained again."):
            network.set_weights(weights)
        return network

    def train_missing(self, wanted: Iterable[CleanNetwork]) -> None:
        """Trains those that are not there yet.

        Processes that share the directory share the work: each takes the networks that no other one
        is at. Those that another one is still at are waited for when they are asked for.
        """
        for each in wanted:
            self._weights(each, wait=False)

    def pretrained(self, scenario: str, column: str) -> keras.Model | None:
        """Returns the network whose features a scenario starts from; None where from none."""
        source = self.setup.pretrained_in(scenario, column)
        if source is None:
            return None
        if source not in self._pretrained:
            self._pretrained[source] = self.get(CleanNetwork("pretrained", PRETRAINING, source))
        return self._pretrained[source]

    def _weights(self, which: CleanNetwork, *, wait: bool) -> Weights | None:
        """Returns the weights; None where another process is at them and we do not wait."""
        folder, file = self._directory.folder(_FOLDER), f"{which.name}.npz"
        directory = self._directory
        with directory.locked(which.name) if wait else directory.try_lock(which.name) as ours:
            if not ours:
                return None
            weights = load_weights(folder, file)
            if weights is None:
                weights = self._train(which)
                save_weights(folder, file, weights)
            directory.folder(WORK).discard(which.name)
            return weights

    def _train(self, which: CleanNetwork) -> Weights:
        started = time.monotonic()
        work = self._directory.folder(WORK).folder(which.name)
        checkpoint = Checkpoint(work, seconds=self._seconds, every_epoch=False)
        try:
            predictor, _ = self.setup.trainer(which.scenario, which.column).train(
                self.setup.examples(which.scenario),
                self.setup.seed_of(*which.seed_parts),
                checkpoint,
                pretrained=self.pretrained(which.scenario, which.column),
                until_epoch=which.stop,
            )
        except DivergedError as error:
            raise DivergedError(
                f"The network {which.name} diverges on clean data, and nothing can be measured "
                f"without it. {error}"
            ) from error
        if self._verbose:
            accuracy = checkpoint.rows[-1]["accuracy"]
            seconds = time.monotonic() - started
            print(f"trained {which.name}: training accuracy {accuracy:.3f}, {seconds:.0f} s")
        return predictor.network.get_weights()


def eligible_targets(networks: Sequence[keras.Model], validation: Examples) -> np.ndarray:
    """Returns which held-out images all networks classify rightly, bool (validation,)."""
    eligible = np.ones(validation.size, bool)
    for network in networks:
        answers = most_probable(Predictor(network).probabilities(validation))
        eligible &= answers == validation.labels
    return eligible
