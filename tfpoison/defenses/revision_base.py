"""The base of the defenses that revise the training set in mid-training."""

import abc
import dataclasses

import keras
import numpy as np

from tfpoison.checks import check_number
from tfpoison.configurable import Configurable


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
                the network, or the network ends in a softmax.
        """
        check_number("seed", seed, minimum=0, whole=True)
        check_network(network)
        check_examples(images, labels)
        classes = network.output_shape[-1]
        if labels.max() >= classes:
            raise ValueError(
                f"Expected labels below the network's number of classes, {classes}. "
                f"Received: a label of {labels.max()}"
            )
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
        ValueError: it has no graph, or its last layer is a softmax.
    """
    if not isinstance(network, keras.Model):
        raise TypeError(f"Expected `network` to be a keras.Model. Received: {network!r}")
    if not network.built or not getattr(network, "outputs", None):
        raise ValueError(
            "Expected `network` to be a built Functional or Sequential model. Received: "
            f"{network!r}. Wrap it: keras.Model(inputs, network(inputs))"
        )
    last = network.layers[-1]
    activation = getattr(last, "activation", None)
    if isinstance(last, keras.layers.Softmax) or activation is keras.activations.softmax:
        raise ValueError(
            "Expected `network` to return logits. Received: a network that ends in a softmax, "
            f"layer {last.name!r}. Leave the softmax to the loss: from_logits=True"
        )


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
