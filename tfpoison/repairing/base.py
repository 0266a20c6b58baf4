"""What every method of repair is, and the training that most of them end with."""

import abc
import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfpoison.repairing.subject import Subject, batches
from tfpoison.settings import Settings, setting

Gradients = Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]
Draw = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Repair(Settings, abc.ABC):
    """A way to take backdoors out of a trained network with few clean images.

    A subclass is a frozen dataclass whose fields are its settings.
    """

    @abc.abstractmethod
    def repair(self, subject: Subject) -> None:
        """Changes the weights of the subject's network, in place.

        Raises:
            ValueError: the method cannot repair this network.
        """


class FineTuning:
    """SGD with momentum 0.9 on the trainable weights, in inference mode.

    BatchNormalization keeps its moving statistics, for which few images are too few.

    Args:
        subject: the network, and the loss.
        gradients: from a batch to the gradients by the trainable weights; None for those of the
            mean loss.
    """

    def __init__(self, subject: Subject, gradients: Gradients | None = None):
        self._weights = subject.network.trainable_variables
        self._gradients = gradients or subject.classifier.weight_gradients
        self._optimizer = keras.optimizers.SGD(momentum=0.9)
        self._optimizer.build(self._weights)
        self._step = tf.function(self._take_step, autograph=False)

    def step(self, images: np.ndarray, labels: np.ndarray, learning_rate: float) -> None:
        """Trains on one batch."""
        rate = tf.constant(learning_rate, tf.float32)
        self._step(tf.constant(images), tf.constant(labels), rate)

    def _take_step(self, images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor) -> None:
        self._optimizer.learning_rate.assign(rate)
        self._optimizer.apply(self._gradients(images, labels), self._weights)


@dataclasses.dataclass(frozen=True)
class FineTuned(Repair):
    """A repair that trains the network on its clean images; the learning rate falls to 0."""

    epochs: int = setting(20, "Passes over the clean images.", minimum=1)
    batch_size: int = setting(64, "Images of a step.", minimum=1)
    learning_rate: float = setting(0.01, "That of the first step.", above=0)

    def fine_tune(
        self, subject: Subject, *, gradients: Gradients | None = None, draw: Draw | None = None
    ) -> None:
        """Trains the subject's network.

        Args:
            subject: what is trained.
            gradients: as in `FineTuning`.
            draw: from positions to a batch of images and labels; None for the clean ones.
        """
        training, generator = FineTuning(subject, gradients), subject.generator()
        drawn = batches(len(subject.images), self.batch_size, self.epochs, generator)
        chosen: Sequence[np.ndarray] = list(drawn)
        for number, positions in enumerate(chosen):
            images, labels = (
                (subject.images[positions], subject.labels[positions])
                if draw is None
                else draw(positions)
            )
            training.step(images, labels, self.learning_rate * (1 - number / len(chosen)))
