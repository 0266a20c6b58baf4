"""The base of the defenses that revise the training set in mid-training."""

import abc
import dataclasses

import keras
import numpy as np

from tfpoison.batch import check_labels
from tfpoison.checks import check_array, check_number
from tfpoison.configurable import Configurable
from tfpoison.defenses.revisions.network_check import check_network
from tfpoison.randomness import Purpose


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

    In short:

        for epoch in range(total):
            train for one epoch on images[kept], labels[kept]
            if epoch + 1 in revision.epochs(total):
                revised = revision.revise(network, images, labels, seed)
                kept, images = kept & revised.kept, revised.images
    """

    def epochs(self, total: int) -> tuple[int, ...]:
        """Returns after how many of `total` epochs it acts, ascending, each from 1 to `total` - 1.

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


def with_stand_ins(kept: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Returns positions for an epoch: those kept, and random ones of them in place of the dropped.

    All epochs have as many steps, as learning-rate schedules and comparisons of defenses expect.
    """
    missing = size - len(kept)
    generator = Purpose.REPLACEMENT_OF_SUSPECTS.generator(seed, missing)
    draw = generator.choice(len(kept), missing)
    return kept[np.sort(np.concatenate([np.arange(len(kept)), draw]))]


def check_examples(images: np.ndarray, labels: np.ndarray) -> None:
    """Raises TypeError or ValueError unless these are 8-bit images with a class from 0 for each."""
    check_array("images", images, np.uint8, (None, None, None, None), filled=True)
    check_array("labels", labels, np.integer, images.shape[:1], minimum=0)
