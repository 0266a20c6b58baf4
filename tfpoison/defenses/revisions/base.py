"""The base of the defenses that revise the training set in mid-training."""

import abc
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfpoison.checks import check_number
from tfpoison.classifier import Classifier
from tfpoison.configurable import Configurable
from tfpoison.randomness import Purpose

_LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@dataclasses.dataclass(frozen=True)
class Revised:
    """What a revision makes of a training set.

    Attributes:
        kept: bool (n,), False for the examples that this revision drops. Drops are for good: over
            several revisions an example stays in training while every one of them keeps it.
        images: the images to train on from now on, uint8 in 0–255, (n, H, W, C).
    """

    kept: np.ndarray
    images: np.ndarray


class Revision(Configurable, abc.ABC):
    """Changes the training set after some epochs, by what the network has learned so far.

    for epoch in range(total):
        train for one epoch on images[kept], labels[kept]
        if epoch + 1 in revision.epochs(total):
            revised = revision.revise(network, images, labels, seed)
            kept, images = kept & revised.kept, revised.images
    """

    def epochs(self, total: int) -> tuple[int, ...]:
        """Returns after how many finished epochs it acts, ascending, each from 1 to `total` - 1.

        Args:
            total: the number of epochs of the training.

        Raises:
            TypeError: `total` is no integer.
            ValueError: the training is over before the first revision.
        """
        check_number("total", total, minimum=1, whole=True)
        epochs = tuple(each for each in self._epochs(total) if each < total)
        if not epochs:
            raise ValueError(
                f"Expected a training that goes on after the first revision of {self!r}: more "
                f"epochs, or an earlier revision. Received: {total} epochs"
            )
        return epochs

    def revise(
        self, network: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
    ) -> Revised:
        """Returns what becomes of the training set; the same bits for the same arguments.

        The network is used in inference mode and not changed.

        Args:
            network: the classifier as it is now, Functional or Sequential, from images in [0, 1],
                (n, H, W, C), to logits, (n, classes).
            images: all images of the training set as they are now, those that were dropped
                before among them, uint8 in 0–255, (n, H, W, C).
            labels: their classes, integers (n,).
            seed: the seed of random draws.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: the images are not 8-bit images, the labels do not go with them or with
                the network, or the network does not answer the images with finite logits.
        """
        check_number("seed", seed, minimum=0, whole=True)
        check_examples(images, labels)
        check_network(network)
        check_labels(labels, network.output_shape[-1])
        return self._revise(network, images, labels, seed)

    @abc.abstractmethod
    def _epochs(self, total: int) -> range:
        """Returns after how many epochs it acts; those that the training does not reach too."""

    @abc.abstractmethod
    def _revise(
        self, network: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
    ) -> Revised:
        """Returns what becomes of the training set; the arguments are checked."""


def check_network(network: keras.Model) -> None:
    """Raises unless `network` is a model with logits for outputs, as far as its graph tells.

    Raises:
        TypeError: it is no Keras model.
        ValueError: it has no graph, ends in a softmax or sigmoid, or has weights that are not
            finite.
    """
    if not isinstance(network, keras.Model):
        raise TypeError(f"Expected `network` to be a keras.Model. Received: {network!r}")
    if not network.built or not getattr(network, "outputs", None):
        raise ValueError(
            "Expected `network` to be a built Functional or Sequential model. Received: "
            f"{network!r}. Wrap it: keras.Model(inputs, network(inputs))"
        )
    last: keras.Layer = network
    while isinstance(last, keras.Model) and last.layers:
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    bounded = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or activation in bounded:
        raise ValueError(
            "Expected `network` to return logits. Received: a network that ends in a softmax or "
            f"sigmoid, layer {last.name!r}. Leave it to the loss: from_logits=True"
        )
    if not all(np.isfinite(each).all() for each in network.get_weights()):
        raise ValueError(
            "Expected `network` to have finite weights. Received: NaN or infinity. The training "
            "has diverged: lower its learning rate, or clip its gradients."
        )


def check_answers(network: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    """Raises unless `network` answers any number of such images with logits, one for each class.

    Args:
        network: the network, from images in [0, 1], as `check_network` takes it.
        images: uint8 in 0–255, (n, H, W, C): a few of the examples.
        labels: the classes of all examples, integers.

    Raises:
        ValueError: it takes other images, or one number of them alone, or its answers are
            probabilities, or not as many as there are classes.
    """
    answers = _ask(network, images.astype(np.float32) / 255)
    if answers.ndim != 2 or answers.shape[1] < 2:
        raise ValueError(
            "Expected `network` to return the logits of each image, (n, classes), of two classes "
            f"or more. Received: an output of shape (n, {', '.join(map(str, answers.shape[1:]))})"
        )
    if (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=0.01):
        raise ValueError(
            "Expected `network` to return logits. Received: answers that sum to one, as "
            "probabilities do. Leave the softmax to the loss: from_logits=True"
        )
    check_labels(labels, answers.shape[1])


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raises ValueError unless all labels are below the number of classes."""
    if labels.max() >= classes:
        raise ValueError(
            f"Expected labels below the network's number of classes, {classes}. "
            f"Received: a label of {labels.max()}"
        )


def _ask(network: keras.Model, images: np.ndarray) -> np.ndarray:
    shape = network.input_shape
    if isinstance(shape, tuple) and shape and isinstance(shape[0], int):
        raise ValueError(
            "Expected `network` to take any number of images: a revision looks at all of them. "
            f"Received: a network for batches of {shape[0]}. Give its Input a shape alone, without "
            "a batch size."
        )
    try:
        answers = Classifier(network, _LOSS).predictions(tf.constant(images))
        return keras.ops.convert_to_numpy(answers)
    except Exception as error:  # Whatever the layers of a network raise.
        raise ValueError(
            f"Expected `network` to answer float32 images in [0, 1] of shape {images.shape}. "
            f"Received: {type(error).__name__}: {error}"
        ) from error


def with_stand_ins(kept: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Returns positions for an epoch: those kept, and random ones of them in place of the dropped.

    All epochs have as many steps, as learning-rate schedules and comparisons of defenses expect.

    Args:
        kept: the positions that are left, integers (kept,), at least one.
        size: how many there were at the start.
        seed: of the draw.

    Returns:
        Positions, (size,), in the order of `kept`.
    """
    missing = size - len(kept)
    generator = Purpose.REPLACEMENT_OF_SUSPECTS.generator(seed, missing)
    draw = generator.choice(len(kept), missing)
    return kept[np.sort(np.concatenate([np.arange(len(kept)), draw]))]


def check_examples(images: np.ndarray, labels: np.ndarray) -> None:
    """Raises unless these are 8-bit images, (n, H, W, C), with integer labels, (n,), n > 0.

    Raises:
        TypeError: they are no arrays.
        ValueError: their dtypes or shapes are others.
    """
    for name, array in (("images", images), ("labels", labels)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"Expected `{name}` to be a numpy array. Received: {type(array)}")
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(
            "Expected `images` to be uint8 in 0–255 of shape (n, height, width, channels), at "
            f"least one. Received: dtype {images.dtype}, shape {images.shape}"
        )
    integers = np.issubdtype(labels.dtype, np.integer)
    if not integers or labels.shape != images.shape[:1] or labels.min() < 0:
        raise ValueError(
            "Expected `labels` to be a class for each image: integers from 0 of shape "
            f"({len(images)},). Received: dtype {labels.dtype}, shape {labels.shape}"
        )
