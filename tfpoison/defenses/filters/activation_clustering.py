"""Activation clustering: drop the smaller of two clusters of each class."""

import dataclasses
import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, FastICA
from sklearn.exceptions import ConvergenceWarning

from tfpoison.defenses.filters.base import Filter, Suspicion, members_of_classes
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class ActivationClustering(Filter):
    """Activation clustering (Chen et al. 2018, arXiv 1811.03728, algorithm 1).

    for each class:
        R ← independent component analysis of its features, to a few dimensions
        two clusters ← k-means on R
        the smaller cluster is suspect, if it is at most `largest_share` of the class

    The score is the distance to the larger cluster's centre less that to the smaller one's, over
    the distance of the two: in [-1, 1], positive within the smaller cluster.

    The default takes the smaller cluster of every class, as the paper on adversarial poisoning
    does. The authors find that the smaller cluster of a poisoned class is as large as the share of
    its poisons, where clean classes split in about half.
    """

    components: int = setting(
        10, "Independent components, or as many as the class can have.", minimum=1
    )
    largest_share: float = setting(
        0.5,
        "The share of a class up to which its smaller cluster is suspect.",
        above=0,
        maximum=0.5,
    )

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        scores = np.zeros(len(labels))
        suspects = np.zeros(len(labels), bool)
        for members in members_of_classes(labels):
            reduced = reduce(features[members], self.components, seed)
            if reduced is None:
                continue
            scores[members], in_smaller = cluster(reduced, seed)
            if in_smaller.mean() <= self.largest_share:
                suspects[members] = in_smaller
        return Suspicion(scores, suspects)


def reduce(features: np.ndarray, components: int, seed: int) -> np.ndarray | None:
    """Returns independent components, (n, d) → (n, c), c ≤ `components`.

    None where there are not two examples that differ: there are no clusters then.
    """
    centered = features - features.mean(axis=0)
    # Features that are constant or depend on each other would be whitened by division by zero.
    components = min(components, np.linalg.matrix_rank(centered))
    if components == 0:
        return None
    # Whitening keeps the components of largest variance in any case.
    principal = PCA(components, svd_solver="full").fit_transform(features)
    analysis = FastICA(whiten="unit-variance", max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        # Components that are not quite independent yet are good enough to cluster by.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return analysis.fit_transform(principal)


def cluster(points: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and who is in the smaller cluster: (n, c) → floats (n,), bool (n,)."""
    means = KMeans(2, n_init=10, random_state=seed).fit(points)
    sizes = np.bincount(means.labels_, minlength=2)
    smaller = int(sizes.argmin())
    distances = means.transform(points)
    gap = np.linalg.norm(means.cluster_centers_[0] - means.cluster_centers_[1])
    scores = (distances[:, 1 - smaller] - distances[:, smaller]) / gap
    return scores, means.labels_ == smaller
