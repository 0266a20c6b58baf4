"""Margin drop: what a repair makes a network less sure of is left out."""

import dataclasses

import numpy as np

from tfpoison.defenses.filters.base import Evidence, Filter, Suspicion, largest
from tfpoison.settings import setting

# With margins alone, examples with wrong labels, of which networks are less sure, rank too low.
_WEIGHT_OF_LOSS = 2
# Fewer say nothing of a network.
_LEAST_IMAGES = 10


@dataclasses.dataclass(frozen=True)
class MarginDrop(Filter):
    """What a repair makes a network less sure of (this library's own; no paper).

        θ ← trained on all examples
        θ₁, … ← θ, repaired with `images` of the examples each
        pᵢ(θ) ← the probability of the label of example i;  mᵢ = log pᵢ - log(1 - pᵢ)
        scoreᵢ ← mean over the repaired: mᵢ(θ) - mᵢ(θₖ) + 2 (log pᵢ(θ) - log pᵢ(θₖ))
        the ⌊share · n⌋ examples of the largest scores are suspects

    A repair takes shortcuts to classes from the network, and leaves it the rest; see
    `tfpoison.repair`. An example that needs the shortcut for its label (a backdoor under a wrong
    one) loses probability. One that has both (a backdoor under its own label) keeps that, and loses
    its margin, which was unusually wide. No clean image is needed: the repair that tells them apart
    need not be one to use the network after, and trains toward the network's own answers. Which
    shortcut a repair takes depends on its draws; the mean of several short ones takes most.
    """

    share: float = setting(0.15, "The share of all examples that is removed.", above=0, maximum=0.5)
    repair: str = setting(
        "universal(epsilon=64/255;rounds=4;learning_rate=0.01)",
        "How the network is repaired.",
        choices="tfpoison.repairing.table:REPAIRS",
        expressions=True,
    )
    repairs: int = setting(6, "Repairs of the network, by different images.", minimum=1)
    images: int = setting(
        500,
        "Examples that each repairs with, drawn at random; all where there are fewer.",
        minimum=_LEAST_IMAGES,
    )

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            "margins", repair=self.repair, repairs=self.repairs, repair_images=self.images
        )

    def check(self, examples: int) -> None:
        if examples < _LEAST_IMAGES:
            raise ValueError(
                f"Expected at least {_LEAST_IMAGES} examples to repair a network with. "
                f"Received: {examples}"
            )

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        # log p = -log(1 + exp(-m)), which no margin makes infinite.
        sureness = features - _WEIGHT_OF_LOSS * np.logaddexp(0, -features)
        scores = sureness[:, 0] - sureness[:, 1:].mean(axis=1)
        return Suspicion(scores, largest(scores, self.share))
