"""The training loop that jobs share: Keras's `fit`, from wherever a checkpoint stands."""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfpoison import RobustModel, data
from tfpoison.data import Description, Examples
from tfpoison.defenses import Defense
from tfpoison.distribution import serves_every_replica
from tfpoison.fitting.divergence import DivergenceCheck
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.runs.checkpoint import Checkpoint


class Stream:
    """The batches of a training, from any position.

    Args:
        train: the training set.
        settings: batch size and augmentation.
        training: seed and label smoothing.
        classes: the number of classes.
        one_hot: whether labels are one-hot, which label smoothing asks for as well.
        replicas: how many replicas share each batch.

    Raises:
        ValueError: steps_per_execution does not divide the batches of an epoch, or some replicas
            get no example of a batch.
    """

    def __init__(
        self,
        train: Examples,
        settings: DataSettings,
        training: TrainingSettings,
        *,
        classes: int,
        one_hot: bool = False,
        replicas: int = 1,
    ):
        self._train = train
        self._settings = settings
        self._training = training
        self._classes = classes if one_hot or training.label_smoothing else None
        if not serves_every_replica(settings.batch_size, replicas):
            raise ValueError(
                f"Expected a batch_size of which each of {replicas} replicas gets an example. "
                f"Received: batch_size={settings.batch_size}. A multiple of {replicas} serves all "
                "alike."
            )
        rest = train.size % settings.batch_size
        self._drop_remainder = rest > 0 and not serves_every_replica(rest, replicas)
        self.batches = data.batches_per_epoch(train, settings.batch_size, self._drop_remainder)
        check_steps(training, self.batches)

    def training(self, first_epoch: int, first_batch: int, epochs: int) -> tf.data.Dataset:
        """Returns the batches from a position to the end of the epochs."""
        return data.training_batches(
            self._train,
            batch_size=self._settings.batch_size,
            epochs=epochs,
            seed=self._training.seed,
            augmentation=self._settings.augmentation,
            one_hot_classes=self._classes,
            first_epoch=first_epoch,
            first_batch=first_batch,
            drop_remainder=self._drop_remainder,
        )

    def evaluation(self, examples: Examples) -> tf.data.Dataset:
        """Returns the batches of other examples, once and in order."""
        return data.evaluation_batches(
            examples, self._settings.batch_size, one_hot_classes=self._classes
        )

    def first_batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first batch of the training."""
        return next(self.training(0, 0, 1).as_numpy_iterator())


def check_data(
    description: Description, network: NetworkSettings, defenses: Iterable[Defense]
) -> None:
    """Raises ValueError where data do not go with a network, or are too few or small for a defense.

    Args:
        description: what is known of the data.
        network: the network.
        defenses: the defenses that it is trained with.
    """
    network.check(description.image_shape, description.classes)
    for defense in defenses:
        if description.image_shape is not None:
            defense.check_sides(description.image_shape[:2])
        if defense.filter is not None:
            defense.filter.check(description.train_size)


def check_steps(training: TrainingSettings, batches: int) -> None:
    """Raises ValueError where an epoch of so many batches cannot be executed so many at a time."""
    if batches % training.steps_per_execution:
        # Keras would take the batches that are missing from the next epoch.
        raise ValueError(
            f"Expected steps_per_execution to divide the {batches} batches of an epoch. "
            f"Received: steps_per_execution={training.steps_per_execution}"
        )


def fit_resumably(
    model: RobustModel,
    stream: Stream,
    checkpoint: Checkpoint,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    epochs: int,
    validation: tf.data.Dataset | None = None,
    verbose: int = 0,
) -> None:
    """Trains a model from where its checkpoint stands to the end.

    Where that is the end, the model is put there: what was to follow the training is still to come.

    Args:
        model: the compiled model.
        stream: its batches.
        checkpoint: where it goes on from, and is saved; what other callbacks add to an epoch's logs
            is saved with it.
        callbacks: other callbacks.
        epochs: the number of epochs, counted from the start of the training.
        validation: what `fit` evaluates after every epoch.
        verbose: Keras's verbosity.

    Raises:
        DivergedError: the training diverges; its last epoch is not saved.
    """
    while True:
        # An epoch that was cut short is finished by itself: it has fewer batches.
        last = checkpoint.epoch + 1 if checkpoint.batch else epochs
        model.fit(
            # Keras looks at a batch even if there is no epoch to train.
            stream.training(checkpoint.epoch, checkpoint.batch, max(last, checkpoint.epoch + 1)),
            validation_data=validation,
            initial_epoch=checkpoint.epoch,
            epochs=last,
            steps_per_epoch=stream.batches - checkpoint.batch,
            callbacks=[DivergenceCheck(), *callbacks, checkpoint],
            shuffle=False,
            verbose=verbose,
        )
        if checkpoint.epoch >= epochs:
            break
