"""The base of the defenses that remove suspects before training."""

import abc
import dataclasses

import numpy as np

from tfpoison.checks import check_array, check_number
from tfpoison.configurable import Configurable


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


class Filter(Configurable, abc.ABC):
    """Finds suspects by the features that an undefended network has of them.

    In short:

        network = train(all examples)
        suspicion = filter.inspect(features of network, labels)
        train(examples without suspicion.suspects)
    """

    def check(self, examples: int) -> None:
        """Raises ValueError where `inspect` would for so many examples, whatever they are."""

    def inspect(self, features: np.ndarray, labels: np.ndarray, seed: int = 0) -> Suspicion:
        """Returns the scores and the suspects; the same bits for the same arguments.

        Args:
            features: of all examples, floats (n, d): the input of the network's last layer.
            labels: their classes as given, integers (n,).
            seed: the seed of random draws.

        Raises:
            TypeError: an argument is no array, or the seed no integer.
            ValueError: shapes or types are others, or features are not finite.
        """
        check_number("seed", seed, minimum=0, maximum=2**32 - 1, whole=True)
        check_array("features", features, np.floating, (None, None), filled=True)
        check_array("labels", labels, np.integer, features.shape[:1])
        self.check(len(labels))
        return self._inspect(features.astype(np.float64), labels, seed)

    @abc.abstractmethod
    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        """Returns the scores and the suspects; the arguments are checked."""


def members_of_classes(labels: np.ndarray) -> list[np.ndarray]:
    """Returns the positions of the examples of each class that there is, ascending."""
    counts = np.unique(labels, return_counts=True)[1]
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
