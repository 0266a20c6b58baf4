"""Spectral signatures: drop what lies far out along the first principal axis of its class."""

import dataclasses

import numpy as np

from tfpoison.defenses.filters.base import Filter, Suspicion, largest, members_of_classes
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class SpectralSignatures(Filter):
    """Spectral signatures (Tran et al. 2018, arXiv 1811.00636, algorithm 1).

    for each class, with n examples:
        R ← features - their mean                                 (n, d)
        v ← the top right singular vector of R
        scoreᵢ ← (Rᵢ · v)²
        the ⌊share · n⌋ examples of the largest scores are suspects

    Scores are divided by their mean within the class, to compare across classes; that changes no
    suspect. Of equal scores the first examples are suspects. The authors remove 1.5 times as many
    examples as there are poisons at most: 15 % for poisons that are a tenth of their class.
    """

    share: float = setting(
        0.15, "The share of each class that is removed, below 1.", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share == 1:
            raise ValueError("Expected `share` to leave examples, below 1. Received: share=1")

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        scores = np.zeros(len(labels))
        suspects = np.zeros(len(labels), bool)
        for members in members_of_classes(labels):
            scores[members] = outlier_scores(features[members])
            suspects[members] = largest(scores[members], self.share)
        return Suspicion(scores, suspects)


def outlier_scores(features: np.ndarray) -> np.ndarray:
    """Returns squared lengths along the top singular vector, over their mean: (n, d) → (n,)."""
    centered = features - features.mean(axis=0)
    # Of the two matrices with these singular vectors the smaller one is decomposed, in ascending
    # order.
    if len(centered) < centered.shape[1]:
        lengths, vectors = np.linalg.eigh(centered @ centered.T)
        scores = lengths[-1] * vectors[:, -1] ** 2
    else:
        axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
        scores = (centered @ axis) ** 2
    mean = scores.mean()
    return scores / mean if mean > 0 else scores
