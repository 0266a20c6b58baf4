"""The set-up of an experiment: its images, and what trains networks on them."""

import dataclasses
import functools
import zlib
from collections.abc import Callable

import keras
import numpy as np

from tfpoison.data import Description, Examples, ImageClassification
from tfpoison.defenses import Defense
from tfpoison.experiment import data as experiment_data
from tfpoison.experiment.settings import PretrainingSettings
from tfpoison.fitting import optimization, stream
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import Trainer, network_maker, set_up_keras
from tfpoison.recipes import scenario

NO_DEFENSE = "none"
# What features are trained in, beside the scenarios that start from them.
PRETRAINING = "pretraining"

MakeNetwork = Callable[[int], keras.Model]


@dataclasses.dataclass(frozen=True)
class SetupSettings:
    """How every network of an experiment is trained.

    Attributes:
        pretraining: of features; None where no scenario needs any.
        defenses: the defenses by the names of their columns; `"none"` is among them.
    """

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    pretraining: PretrainingSettings | None
    defenses: dict[str, Defense]

    def check(self) -> Description:
        """Returns what is known of the data; raises ValueError or TypeError where it cannot be."""
        for defense in self.defenses.values():
            optimization.check(self.training, defense)
            if self.pretraining is not None:
                defended = defense if self.pretraining.defended else Defense()
                optimization.check(self.pretraining.training(self.training), defended)
        description = experiment_data.check(self.data, self.pretraining)
        stream.check_data(description, self.network, self.defenses.values())
        return description

    def load(self) -> "Setup":
        """Loads the images and sets Keras up; ValueError where they are too few, or others."""
        set_up_keras(self.training)
        images, others = experiment_data.load(self.data, self.pretraining)
        stream.check_data(images.description, self.network, self.defenses.values())
        return Setup(self, images, others)


@dataclasses.dataclass(eq=False)
class Setup:
    """The images of an experiment, and what trains each kind of its networks.

    Attributes:
        images: what victims are trained and measured on.
        others: what features are trained on, where a scenario needs any.
        make_network: from a seed to a fresh network for the images; None for that of the settings.
    """

    settings: SetupSettings
    images: ImageClassification
    others: ImageClassification | None = None
    make_network: MakeNetwork | None = None

    def __post_init__(self) -> None:
        self._trainers: dict[tuple[str, str], Trainer] = {}
        # The images' statistics are the same for all.
        maker = functools.partial(network_maker, self.settings.network, self.images)
        self._network_maker = functools.cache(maker)

    def trainer(self, scenario_name: str, column: str) -> Trainer:
        """Returns what trains networks of a scenario, or features, with a column's defense."""
        key = scenario_name, column
        if key not in self._trainers:
            self._trainers[key] = self._make_trainer(*key)
        return self._trainers[key]

    def _make_trainer(self, scenario_name: str, column: str) -> Trainer:
        settings, training, classes = self.settings, self.settings.training, self.images.classes
        start = scenario.Scenario()
        if scenario_name != PRETRAINING:
            start = scenario.get(scenario_name)
        else:
            assert settings.pretraining is not None and self.others is not None
            training, classes = settings.pretraining.training(training), self.others.classes
        make_network = self.make_network or self._network_maker(classes)
        defense = settings.defenses[column]
        return Trainer(make_network, classes, settings.data, training, defense, start)

    def examples(self, scenario_name: str) -> Examples:
        """Returns the clean training set of a scenario, or of the features."""
        if scenario_name != PRETRAINING:
            return self.images.train
        assert self.others is not None
        return self.others.train

    def pretrained_in(self, scenario_name: str, column: str) -> str | None:
        """Returns the column whose features a scenario starts from; None where from none."""
        if scenario_name == PRETRAINING or not scenario.get(scenario_name).pretrained:
            return None
        assert self.settings.pretraining is not None
        return column if self.settings.pretraining.defended else NO_DEFENSE

    def seed_of(self, *parts: object) -> int:
        """Returns the seed of a training that goes by these names and numbers."""
        name = "/".join(map(str, parts))
        entropy = [self.settings.training.seed, zlib.crc32(name.encode())]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0]) % 2**31
