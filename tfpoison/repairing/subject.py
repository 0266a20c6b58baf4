"""A trained network and clean images, looked at before anything is done with them."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tfpoison import evaluation
from tfpoison.batch import LabelEncoding, check_labels
from tfpoison.classifier import Classifier
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose
from tfpoison.repairing.settings import LEAST_IMAGES
from tfpoison.training import RobustModel

_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network that may have a backdoor, and few images that nobody has tampered with.

    Attributes:
        network: the network.
        images: in the network's pixel range, float32 (n, H, W, C).
        labels: their classes, one-hot, float32 (n, classes); the network's own answers where nobody
            gave any.
        pixels: the range of the pixels.
        seed: that of all draws.
    """

    network: keras.Model
    images: np.ndarray
    labels: np.ndarray
    pixels: PixelRange
    seed: int = 0

    @classmethod
    def of(
        cls,
        network: keras.Model,
        images: Any,
        labels: Any = None,
        pixel_range: Any = (0.0, 1.0),
        seed: int = 0,
    ) -> Self:
        """Checks what a user gives; see `tfpoison.repair`.

        Raises:
            TypeError, ValueError: an argument is something else than is said there.
        """
        if isinstance(network, RobustModel):
            network = network.network
        if not isinstance(network, keras.Model):
            raise TypeError(f"Expected `network` to be a keras.Model. Received: {network!r}")
        pixels = PixelRange(pixel_range)
        images = _in_range(images, pixels)
        _check_fit(network, images)
        subject = cls(network, images, np.zeros([len(images), 0]), pixels, seed)
        classes = subject.answers.shape[1]
        if classes < 2:
            raise ValueError(
                "Expected a network with an output for each class. Received one with a single "
                "output. Give it two: keras.layers.Dense(2), with labels 0 and 1."
            )
        own = subject.answers.argmax(axis=1)
        classes_of_each = own if labels is None else _classes(labels, len(images), classes)
        one_hot = np.eye(classes, dtype=np.float32)[classes_of_each]
        return dataclasses.replace(subject, labels=one_hot)

    def copy(self) -> Self:
        """Returns the same with a copy of the network.

        Raises:
            ValueError: Keras cannot copy the network.
        """
        if not isinstance(self.network, keras.Sequential) and not hasattr(
            self.network, "operations"
        ):
            raise ValueError(
                "Expected a Functional or Sequential network, which Keras can copy. Received: "
                f"{self.network.name!r} ({type(self.network).__name__}). Call it on keras.Input "
                "and wrap that: keras.Model(inputs, network(inputs))."
            )
        copied = keras.models.clone_model(self.network)
        copied.set_weights(self.network.get_weights())
        return dataclasses.replace(self, network=copied)

    @property
    def classes(self) -> int:
        """The number of classes."""
        return self.answers.shape[1]

    @property
    def encoding(self) -> LabelEncoding:
        """How the labels name classes."""
        return LabelEncoding(self.classes, one_hot=True)

    @functools.cached_property
    def answers(self) -> np.ndarray:
        """The probability of each class before any repair, float32 (n, classes)."""
        return self._as_probabilities(self._outputs)

    @functools.cached_property
    def answers_probabilities(self) -> bool:
        """Whether the network ends with a softmax: all of its outputs are probabilities."""
        outputs = self._outputs
        return bool(outputs.min() >= 0 and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The network in inference mode, with the cross-entropy of its outputs."""
        loss = keras.losses.CategoricalCrossentropy(from_logits=not self.answers_probabilities)
        return Classifier(self.network, loss)

    @functools.cached_property
    def _outputs(self) -> np.ndarray:
        return predict(self.network, self.images)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Returns the probability of each class, as the network is now, float32 (n, classes)."""
        return self._as_probabilities(self.classifier.predictions(tf.constant(images)).numpy())

    def _as_probabilities(self, outputs: np.ndarray) -> np.ndarray:
        return outputs if self.answers_probabilities else tf.nn.softmax(outputs).numpy()

    def accuracy(self) -> float:
        """Returns the share of the images that the network, as it is now, answers rightly."""
        answers = predict(self.network, self.images)
        return evaluation.accuracy(answers, self.labels.argmax(axis=1))

    def perturbed(self, images: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Returns images with so much of the pixel range added, held within it."""
        moved = self.pixels.to_shares(tf.constant(images)) + shares
        return self.pixels.from_shares(tf.clip_by_value(moved, 0, 1)).numpy()

    def generator(self) -> np.random.Generator:
        """Returns the source of all draws by NumPy."""
        return Purpose.REPAIR.generator(self.seed)


def predict(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns a network's outputs for images in its pixel range, float32 (n, outputs)."""
    ask = Classifier(network).predictions
    parts = range(0, len(images), _BATCH)
    return np.concatenate([ask(tf.constant(images[at : at + _BATCH])).numpy() for at in parts])


def batches(
    count: int, size: int, epochs: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yields the positions of batches of one size; each epoch has an order of its own."""
    size = min(size, count)
    for _ in range(epochs):
        order = generator.permutation(count)
        yield from (order[at : at + size] for at in range(0, count - size + 1, size))


def _in_range(images: Any, pixels: PixelRange) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 4 or len(images) < LEAST_IMAGES:
        raise ValueError(
            f"Expected at least {LEAST_IMAGES} clean images, (n, height, width, channels). "
            f"Received: shape {images.shape}. Some fifty do little, some hundreds much."
        )
    pixels.check_channels(images.shape[-1])
    if images.dtype == np.uint8:
        return pixels.from_shares(tf.constant(images / np.float32(255))).numpy()
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"Expected images in uint8 or in floats. Received: {images.dtype}")
    images = images.astype(np.float32)
    shares = pixels.to_shares(tf.constant(images)).numpy()
    if not (shares.min() >= -1e-4 and shares.max() <= 1 + 1e-4):
        raise ValueError(
            f"Expected pixels in the range {pixels.get_config()}. Received: pixels from "
            f"{images.min():.4g} to {images.max():.4g}. Say with `pixel_range` which range the "
            "network takes, or scale the images."
        )
    return images


def _check_fit(network: keras.Model, images: np.ndarray) -> None:
    inputs = getattr(network, "inputs", None) or []
    if inputs and not (
        len(inputs) == 1 and tf.TensorShape(inputs[0].shape).is_compatible_with(images.shape)
    ):
        wanted = ", ".join(str(each.shape[1:]) for each in inputs)
        raise ValueError(
            f"Expected images of the shape that the network takes, {wanted}. Received: "
            f"{images.shape[1:]}"
        )


def _classes(labels: Any, count: int, outputs: int) -> np.ndarray:
    labels = np.asarray(labels)
    if len(labels) != count:
        raise ValueError(
            f"Expected a label for each of {count} images. Received: {len(labels)} labels"
        )
    check_labels(labels, outputs)
    return LabelEncoding.infer(labels, outputs).decode(tf.constant(labels)).numpy()
