"""Deep k-nearest neighbours: drop what is labelled otherwise than its neighbours."""

import dataclasses

import numpy as np
from sklearn.neighbors import NearestNeighbors

from tfpoison.defenses.filters.base import Filter, Suspicion, largest
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class DeepKNN(Filter):
    """Deep k-NN (Peri et al. 2020, arXiv 1909.13374, algorithm 1).

    for each example:
        S ← the labels of its k nearest neighbours in feature space, itself excluded
        it is a suspect where its label is not the most frequent one in S

    Where several labels are the most frequent, its own is enough. The score is the share of the
    neighbours with another label. k must be below the number of examples. The authors advise at
    least twice the number of poisons.

    Clean-label triggers are the other way round: what carries one is more like its class than
    anything else is. `typical` looks for that; the score is the share of the neighbours with the
    same label then.
    """

    neighbors: int | None = setting(
        None, "k; unset for as many as a class has examples in the mean.", minimum=1
    )
    typical: float | None = setting(
        None,
        "The share of all examples, those most like their class, that is removed instead.",
        above=0,
        maximum=0.5,
    )

    def check(self, examples: int) -> None:
        if (self.neighbors or 1) >= examples:
            raise ValueError(
                "Expected fewer `neighbors` than examples. Received: "
                f"{self.neighbors or 1} with {examples} examples"
            )

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        classes = np.unique(labels)
        # The authors call this a "normalized k" of 1.
        count = self.neighbors or max(1, min(len(labels) // len(classes), len(labels) - 1))
        index = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(features)
        # Asked about no other points, scikit-learn leaves each point out of its own neighbours.
        votes = labels[index.kneighbors(return_distance=False)]
        of_own_label = (votes == labels[:, None]).sum(axis=1)
        if self.typical is not None:
            return Suspicion(of_own_label / count, largest(of_own_label, self.typical))
        of_most_frequent = np.max([(votes == each).sum(axis=1) for each in classes], axis=0)
        return Suspicion(1 - of_own_label / count, of_own_label < of_most_frequent)
