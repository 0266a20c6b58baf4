"""The base of the defenses that remove suspects before training."""

import abc
import dataclasses
from collections.abc import Iterator
from typing import Literal

import keras
import numpy as np

from tfpoison.checks import check_array, check_number
from tfpoison.configurable import Configurable
from tfpoison.data import Examples

_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """What a filter makes of a training set.

    Attributes:
        scores: how suspicious each example is, float64 (n,); larger is more so. Scores order the
            examples of one filter; those of two filters do not compare.
        suspects: whether the filter would remove it, bool (n,).
    """

    scores: np.ndarray
    suspects: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a filter looks at: the examples, or what undefended networks say that train on them.

    Attributes:
        answers: what of each example it looks at: its features, its loss, or its margin, which is
            the log odds of its label, log p - log(1 - p); or the images themselves.
        share: of the epochs of a training, after which the networks are asked; one epoch at least.
        ascent: the loss in nats below which it is climbed; None for plain training.
        networks: how many there are, of different seeds. None is trained for images.
        repair: how a network is repaired, to be asked once more: an expression, as
            `tfpoison.repair` takes it. None: it is not.
        repairs: how many times each network is, of different seeds and images.
        repair_images: with how many of the examples, or all where there are fewer.
        side: the most pixels of a side of images; larger ones are averaged.
    """

    answers: Literal["features", "losses", "margins", "images"] = "features"
    share: float = 1.0
    ascent: float | None = None
    networks: int = 1
    repair: str | None = None
    repairs: int = 1
    repair_images: int = 500
    side: int = 32

    @property
    def training(self) -> tuple[float, float | None]:
        """What the trainings of its networks depend on: `share` and `ascent`."""
        return self.share, self.ascent

    def epochs(self, total: int) -> int:
        """Returns after how many of the epochs of a training a network is asked; 0 for images."""
        return 0 if self.answers == "images" else max(1, round(self.share * total))


class Filter(Configurable, abc.ABC):
    """Finds suspects by what undefended networks say of them, or by the images alone.

    In short:

        networks = train(all examples) as filter.evidence says
        suspicion = filter.inspect(features of networks, labels)
        network = train(examples without suspicion.suspects)
        filter.finish(network, …)
    """

    @property
    def evidence(self) -> Evidence:
        """What it inspects: the features of one network that is trained to the end."""
        return Evidence()

    def check(self, examples: int) -> None:
        """Raises ValueError where `inspect` would for so many examples, whatever they are."""

    def inspect(self, features: np.ndarray, labels: np.ndarray, seed: int = 0) -> Suspicion:
        """Returns the scores and the suspects; the same bits for the same arguments.

        Args:
            features: of all examples, floats (n, d): the input of the network's last layer, or the
                loss or margin, (n, 1); of several networks side by side, each followed by what its
                repaired versions answer. Where the evidence is images: these, in [0, 1],
                (n, H, W, C).
            labels: their classes as given, integers (n,).
            seed: the seed of random draws.

        Raises:
            TypeError: an argument is no array, or the seed no integer.
            ValueError: shapes or types are others, or features are not finite.
        """
        check_number("seed", seed, minimum=0, maximum=2**32 - 1, whole=True)
        are_images = self.evidence.answers == "images"
        shape = (None,) * (4 if are_images else 2)
        check_array("features", features, np.floating, shape, filled=True)
        check_array("labels", labels, np.integer, features.shape[:1])
        self.check(len(labels))
        # Images are too many to be copied.
        return self._inspect(features if are_images else features.astype(np.float64), labels, seed)

    def finish(self, network: keras.Model, kept: Examples, suspects: Examples, seed: int) -> None:
        """Changes a network that was trained on what is kept, by what was not; in place.

        Args:
            network: from images in [0, 1], (n, H, W, C), to logits, (n, classes).
            kept: the examples that it was trained on.
            suspects: those that were left out, but for what a filter before it had suspected.
            seed: the seed of random draws.
        """

    @abc.abstractmethod
    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        """Returns the scores and the suspects; the arguments are checked."""


def members_of_classes(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the positions of the examples of each class that there is, ascending."""
    counts = np.unique(labels, return_counts=True)[1]
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


def largest(scores: np.ndarray, share: float) -> np.ndarray:
    """Returns which are the ⌊share · n⌋ largest scores, bool (n,); the first ones of equals."""
    found = np.zeros(len(scores), bool)
    # Rounding guards against 0.29 · 100 being less than 29.
    found[np.argsort(-scores, kind="stable")[: int(round(share * len(scores), 9))]] = True
    return found


def batches(size: int) -> Iterator[slice]:
    """Yields slices of 1,000 examples, of which there is room for several copies."""
    return (slice(first, first + _BATCH) for first in range(0, size, _BATCH))
