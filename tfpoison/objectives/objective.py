"""What every objective is: a number that says how far the poisons are from the adversary's aim."""

import abc
import dataclasses
from typing import Any, ClassVar, Self

import keras
import tensorflow as tf

from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier, differentiate
from tfpoison.configurable import Configurable


@dataclasses.dataclass(frozen=True)
class Objective(Configurable, abc.ABC):
    """An objective: poisons are crafted to make its value small.

    It knows neither what of the images may change nor when it is used. A subclass writes `value`,
    and moves into `prepare` what stays the same while the poisons change.
    """

    needs_targets: ClassVar[bool] = True
    """Whether the value depends on target images."""

    needs_features: ClassVar[bool] = False
    """Whether the value depends on the network's penultimate features."""

    needs_still_targets: ClassVar[bool] = False
    """Whether its gradient is one by the poisons alone, for targets that crafting does not move."""

    @property
    def differentiates_twice(self) -> bool:
        """Whether its gradient goes through that of the loss by weights of the whole network."""
        return False

    def at_rate(self, learning_rate: float) -> Self:
        """Returns the objective for a network whose training has come to that learning rate."""
        return self

    def check_network(self, network: keras.Model) -> None:
        """Raises ValueError where a network lacks layers that the objective is to look at."""

    def prepare(self, classifier: Classifier, batch: SplitBatch) -> Any:
        """Returns what the value needs and what does not depend on the perturbation of poisons."""
        return None

    @abc.abstractmethod
    def value(self, classifier: Classifier, batch: SplitBatch, prepared: Any) -> tf.Tensor:
        """Returns the value over the images of all replicas, a scalar, given what was prepared."""

    def poison_gradient(
        self, classifier: Classifier, batch: SplitBatch, prepared: Any
    ) -> tf.Tensor:
        """Returns the gradient of the value by the poison images."""
        return self._gradients(classifier, batch, prepared, "poison_images")[0]

    def image_gradients(self, classifier: Classifier, batch: SplitBatch) -> list[tf.Tensor]:
        """Returns the gradients by the poison and by the target images.

        It is for perturbations that change the targets as well: nothing can be prepared then.
        """
        return self._gradients(classifier, batch, None, "poison_images", "target_images")

    def _gradients(
        self, classifier: Classifier, batch: SplitBatch, prepared: Any, *parts: str
    ) -> list[tf.Tensor]:
        images = [getattr(batch, part) for part in parts]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            if prepared is None:
                prepared = self.prepare(classifier, batch)
            value = self.value(classifier, batch, prepared) * classifier.loss_scale
        gradients = differentiate(tape, value, images)
        # Every replica holds a copy of the value and so adds its gradient: see Reduction.
        copies = classifier.loss_scale * classifier.reduction.replicas
        return [finite(gradient / copies) for gradient in gradients]


def finite(gradient: tf.Tensor) -> tf.Tensor:
    """Returns the gradient with 0 where half precision overflowed or an empty mean is undefined."""
    return tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))


def inner_product(left: list[tf.Tensor], right: list[tf.Tensor]) -> tf.Tensor:
    """Returns the inner product of two lists of tensors, each taken as one vector."""
    return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(left, right, strict=True)])


def norm(vector: list[tf.Tensor]) -> tf.Tensor:
    """Returns the Euclidean norm of a list of tensors taken as one vector."""
    return tf.sqrt(inner_product(vector, vector))
