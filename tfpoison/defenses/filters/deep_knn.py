"""Deep k-nearest neighbours: drop what is labelled otherwise than its neighbours."""

import dataclasses

import keras
import numpy as np
from sklearn.neighbors import NearestNeighbors

from tfpoison.checks import check_number, make_plain
from tfpoison.defenses.filters.base import Filter, Suspicion

_ROWS = 4096


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class DeepKNN(Filter):
    """Deep k-NN (Peri et al. 2020, arXiv 1909.13374, algorithm 1).

    for each example:
        S ← the labels of its k nearest neighbours in feature space, itself excluded
        it is a suspect where its label is not the most frequent one in S

    Where several labels are the most frequent, its own is enough. The score is the share of the
    neighbours with another label.

    Args:
        neighbors: k; None for as many as a class has examples in the mean (the authors'
            "normalized k" of 1). They advise at least twice the number of poisons.

    Raises:
        TypeError: k is no integer.
        ValueError: k is below 1; in `check` and `inspect`, k is not below the number of examples.
    """

    neighbors: int | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        if self.neighbors is not None:
            check_number("neighbors", self.neighbors, minimum=1, whole=True)

    def check(self, examples: int) -> None:
        """Raises ValueError where there are fewer examples than neighbours."""
        if (self.neighbors or 1) >= examples:
            raise ValueError(
                "Expected fewer `neighbors` than examples. Received: "
                f"{self.neighbors or 1} with {examples} examples"
            )

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        classes, own = np.unique(labels, return_inverse=True)
        count = self.neighbors or max(1, min(len(labels) // len(classes), len(labels) - 1))
        index = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(features)
        # Asked about no other points, scikit-learn leaves each point out of its own neighbours.
        nearest = index.kneighbors(return_distance=False)
        of_own_label = (own[nearest] == own[:, None]).sum(axis=1)
        most = np.empty(len(labels), np.int64)
        # Votes of all examples for all classes would be too many at once.
        for rows in np.array_split(np.arange(len(labels)), -(-len(labels) // _ROWS)):
            votes = np.zeros((len(rows), len(classes)), np.int64)
            np.add.at(votes, (np.arange(len(rows))[:, None], own[nearest[rows]]), 1)
            most[rows] = votes.max(axis=1)
        return Suspicion(1 - of_own_label / count, of_own_label < most)
