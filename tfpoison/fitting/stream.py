"""The batches of a training, from any position."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tfpoison import data
from tfpoison.data import Description, Examples
from tfpoison.defenses import Defense
from tfpoison.distribution import serves_every_replica
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings


@dataclasses.dataclass
class Stream:
    """The batches of a training, from any position.

    Attributes:
        seed: of order and augmentation.
        one_hot_classes: the number of classes, for one-hot labels; None for integers.
        replicas: how many replicas share each batch.
        batches: how many batches an epoch has.

    Raises:
        ValueError: some replicas get no example of a batch.
    """

    examples: Examples
    settings: DataSettings
    seed: int = 0
    one_hot_classes: int | None = None
    replicas: int = 1
    batches: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        batch_size = self.settings.batch_size
        if not serves_every_replica(batch_size, self.replicas):
            raise ValueError(
                f"Expected a batch_size of which each of {self.replicas} replicas gets an example. "
                f"Received: batch_size={batch_size}. A multiple of {self.replicas} serves all "
                "alike."
            )
        rest = self.examples.size % batch_size
        self._drop_remainder = rest > 0 and not serves_every_replica(rest, self.replicas)
        self.batches = data.batches_per_epoch(self.examples, batch_size, self._drop_remainder)

    def training(self, first_epoch: int, first_batch: int, epochs: int) -> tf.data.Dataset:
        """Returns the batches from a position to the end of the epochs."""
        return data.training_batches(
            self.examples,
            batch_size=self.settings.batch_size,
            epochs=epochs,
            seed=self.seed,
            augmentation=self.settings.augmentation,
            one_hot_classes=self.one_hot_classes,
            first_epoch=first_epoch,
            first_batch=first_batch,
            drop_remainder=self._drop_remainder,
        )

    def first_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first batch of the training."""
        return next(self.training(0, 0, 1).as_numpy_iterator())


def check_data(
    description: Description, network: NetworkSettings, defenses: Iterable[Defense]
) -> None:
    """Raises ValueError where data do not suit a network, or are too few or small for defenses."""
    network.check(description.image_shape, description.classes)
    for defense in defenses:
        if description.image_shape is not None:
            defense.check_sides(description.image_shape[:2])
        for each in defense.filters:
            each.check(description.train_size)


def check_steps(training: TrainingSettings, batches: int) -> None:
    """Raises ValueError where an epoch of so many batches cannot be executed so many at a time."""
    if batches % training.steps_per_execution:
        # Keras would take the batches that are missing from the next epoch.
        raise ValueError(
            f"Expected steps_per_execution to divide the {batches} batches of an epoch. "
            f"Received: steps_per_execution={training.steps_per_execution}"
        )
