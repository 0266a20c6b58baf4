"""Isolation: what a network learns first is left out, and unlearned in the end."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.data import Examples
from tfpoison.defenses.filters.base import Evidence, Filter, Suspicion, largest
from tfpoison.pixel_range import to_unit_range
from tfpoison.randomness import Purpose
from tfpoison.settings import setting

# What the authors unlearn with.
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Isolation(Filter):
    """Anti-backdoor learning (Li et al. 2021, arXiv 2110.11571).

        networks ← trained for a first share of the epochs on sign(ℓᵢ - γ) ℓᵢ
        suspects ← the examples of the lowest loss, mean over the networks
        θ ← trained to the end on the others
        repeat for `unlearning_epochs`, over batches of suspects and of as many others:
            θ ← θ - rate ∇θ (mean ℓ of the others - mean min(ℓ, ln classes) of the suspects)

    Triggers are learned before anything else. The sign keeps losses from falling below γ, where
    those of most examples stay; what has a shortcut falls through (local gradient ascent). The
    score is minus the loss. The authors ask one network, and go on with it; here the training
    starts anew, as for every filter. Their code unlearns by the second term alone, with momentum,
    which a ten times larger rate stands for here, and without the bound: a loss that may rise for
    ever takes the network with it. `unlearning_epochs=0` leaves suspects out alone.
    """

    share: float = setting(
        0.01, "The share of all examples that is isolated.", above=0, maximum=0.5
    )
    networks: int = setting(1, "Networks that are asked.", minimum=1, maximum=100)
    isolation_share: float = setting(
        0.2, "The share of the epochs after which they are.", above=0, maximum=1
    )
    gamma: float | None = setting(0.5, "γ, in nats; none for plain training.", above=0)
    unlearning_epochs: int = setting(5, "Passes over the suspects that are unlearned.", minimum=0)
    unlearning_rate: float = setting(5e-3, "The rate of these steps.", above=0)

    @property
    def evidence(self) -> Evidence:
        return Evidence("losses", self.isolation_share, self.gamma, self.networks)

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        scores = -features.mean(axis=1)
        return Suspicion(scores, largest(scores, self.share))

    def finish(self, network: keras.Model, kept: Examples, suspects: Examples, seed: int) -> None:
        classifier, draw = Classifier(network), Purpose.UNLEARNING.generator(seed)
        others = draw.integers(kept.size, size=suspects.size)
        parts = [
            (suspects.read(np.arange(suspects.size)), suspects.labels),
            (kept.read(others), kept.labels[others]),
        ]

        @tf.function(reduce_retracing=True)
        def gradients(images: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
            return classifier.weight_gradients(to_unit_range(images), labels)

        @tf.function(reduce_retracing=True)
        def losses(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            return classifier.losses(to_unit_range(images), labels)

        of_chance = np.log(classifier.count_outputs(suspects.read(np.arange(1))))
        for _ in range(self.unlearning_epochs):
            order = draw.permutation(suspects.size)
            for some in np.split(order, range(_BATCH, len(order), _BATCH)):
                (images, labels), other = ((x[some], y[some]) for x, y in parts)
                known = losses(images, labels).numpy() < of_chance
                step = [-each for each in gradients(*other)]
                if known.any():
                    up = gradients(images[known], labels[known])
                    step = [fall + known.mean() * rise for fall, rise in zip(step, up, strict=True)]
                for weight, change in zip(network.trainable_variables, step, strict=True):
                    weight.assign(weight + self.unlearning_rate * change)
