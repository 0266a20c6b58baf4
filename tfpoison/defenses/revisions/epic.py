"""EPIC: drop the examples that stand alone in gradient space."""

import dataclasses
import heapq
import math

import keras
import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from tfpoison.defenses.revisions.base import Revised, Revision
from tfpoison.evaluation import Predictor
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Epic(Revision):
    """Effective poison identification (arXiv 2210.09671, algorithm 1).

    Poisons that work sit far from the other examples of their class in gradient space. After a
    warm-up, and again every few epochs,

        gᵢ ← softmax(network(xᵢ)) - one_hot(yᵢ)               the gradient by the logits
        for each class, with n examples:
            medoids ← greedy argmax over ⌈share · n⌉ examples of Σᵢ max over medoids j of sᵢⱼ
            each example joins its nearest medoid
            drop every medoid that is alone                        sᵢⱼ = exp(-‖gᵢ - gⱼ‖₂ / classes)

    As in the authors' code (YuYang0901/EPIC), similarities are exp(-distance / classes), every
    revision clusters all examples of the training set, those dropped before included, and what one
    revision drops stays dropped. Unlike there, probabilities include the last layer's bias, shares
    are rounded up for every class, and one example of a class at least is no medoid, so that no
    revision drops a whole class. Memory is about 5 n² bytes for the largest class.

    Their recipe for 40 epochs is to drop after 10, 12, … 34 epochs (ε = 8/255) or after
    5, 10, … 35 (ε = 16/255); for 200 epochs, after 30, 40, … 150. Their share is 0.1 to 0.3, and
    0.6 for fine-tuning: more medoids leave more of them alone.
    """

    share: float = setting(0.1, "The share of each class that becomes medoids.", above=0, maximum=1)
    first_epoch: int | None = setting(
        None, "Epochs before the first revision; unset for a quarter of all.", minimum=1
    )
    last_epoch: int | None = setting(
        None, "No revision comes after so many epochs; unset for ⅞ of all.", minimum=1
    )
    interval: int | None = setting(
        None, "Epochs from revision to revision; unset for a twentieth of all.", minimum=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        first, last = self.first_epoch, self.last_epoch
        if first is not None and last is not None and last < first:
            raise ValueError(
                "Expected `last_epoch` to be at least `first_epoch`. Received: "
                f"first_epoch={first!r}, last_epoch={last!r}"
            )

    def _epochs(self, total: int) -> range:
        first = self.first_epoch or max(1, total // 4)
        last = self.last_epoch or max(first, total * 7 // 8)
        return range(first, last + 1, self.interval or max(1, total // 20))

    def _revise(
        self, network: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
    ) -> Revised:
        # Within a class the one-hot label is the same for all, and cancels in every distance.
        gradients = _predictor(network).probabilities(images)
        kept = np.ones(len(labels), bool)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            kept[members] = ~isolated(gradients[members], self.share)
        return Revised(kept, images)


def _predictor(network: keras.Model) -> Predictor:
    """Returns the network's predictor, the same one for every revision: tracing takes seconds.

    The network itself holds it, past Keras's tracking, so that both are let go together.
    """
    return vars(network).setdefault("_tfpoison_predictor", Predictor(network))


def isolated(gradients: np.ndarray, share: float) -> np.ndarray:
    """Returns which examples of one class are medoids alone in their cluster, bool (n,).

    An example as near to several medoids joins the one that was chosen first. Gradients are those
    by the logits, (n, classes), up to a constant.
    """
    count = len(gradients)
    # Rounding guards against 0.1 · 30 being more than 3.
    medoid_count = min(math.ceil(round(share * count, 9)), count - 1)
    if medoid_count == 0:
        return np.zeros(count, bool)
    similarities = similarity(gradients)
    medoids = choose_medoids(similarities, medoid_count)
    clusters = similarities[:, medoids].argmax(axis=1)
    sizes = np.bincount(clusters, minlength=len(medoids))
    return sizes[clusters] == 1


def similarity(gradients: np.ndarray) -> np.ndarray:
    """Returns exp(-distance / dimensions) of all pairs: (n, d) → float32 (n, n), in (0, 1]."""
    distances = euclidean_distances(gradients.astype(np.float32))
    distances /= -gradients.shape[1]
    return np.exp(distances, out=distances)


def choose_medoids(similarities: np.ndarray, count: int) -> np.ndarray:
    """Returns medoids, as chosen, that greedily maximise Σᵢ max over medoids j of sᵢⱼ.

    Gains only shrink as medoids are added, so that an example's last known gain bounds what it
    gains now, and few gains are computed anew for each medoid (Minoux 1978, "accelerated greedy").
    Of equal gains the first example's wins. There are fewer than `count` where no further one gains
    anything.
    """
    nearest = np.zeros(len(similarities), similarities.dtype)

    def negative_gain(candidate: int) -> float:
        improvement = np.maximum(similarities[candidate] - nearest, 0)
        return -float(improvement.sum(dtype=np.float64))

    bounds = [(negative_gain(each), each) for each in range(len(similarities))]
    heapq.heapify(bounds)
    medoids: list[int] = []
    while bounds and len(medoids) < count:
        candidate = bounds[0][1]
        current = (negative_gain(candidate), candidate)
        heapq.heapreplace(bounds, current)
        if bounds[0] != current:
            continue
        if current[0] == 0:
            break
        heapq.heappop(bounds)
        medoids.append(candidate)
        np.maximum(nearest, similarities[candidate], out=nearest)
    return np.array(medoids)
