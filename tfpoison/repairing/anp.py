"""Adversarial neuron pruning: cut the neurons whose perturbation makes the network wrong."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfpoison.repairing.base import Repair
from tfpoison.repairing.subject import Subject
from tfpoison.settings import setting

_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class AdversarialNeuronPruning(Repair):
    """Adversarial neuron pruning, ANP (Wu and Wang 2021, arXiv 2110.14430, algorithm 1).

    each neuron has a scale w and a shift b (of BatchNormalization), and a mask m, 1 at first
    for each of the steps, on a batch of clean images:
        δ, ξ ← uniform in ±ε, then one step of size ε along the sign of ∇L, clipped to ±ε,
               where L = loss with (m + δ) w and (1 + ξ) b
        m ← SGD with momentum on clean_share · (loss with m w) + (1 - clean_share) · L,
            clipped to [0, 1]
    w ← 0 where m ends below the threshold

    Networks without BatchNormalization have the kernels and biases of their convolutions and Dense
    layers, but for the last, for w and b. Here BatchNormalization keeps its moving statistics,
    where the authors' code uses those of the batch.
    """

    epsilon: float = setting(0.4, "ε, how far scales and shifts are perturbed.", minimum=0)
    clean_share: float = setting(
        0.2, "The weight of the loss without perturbations.", minimum=0, maximum=1
    )
    threshold: float = setting(0.2, "Masks below it are pruned.", minimum=0, maximum=1)
    steps: int = setting(1000, "Steps of the masks.", minimum=1)
    batch_size: int = setting(128, "Images of a step.", minimum=1)
    learning_rate: float = setting(0.2, "That of the masks.", above=0)

    def repair(self, subject: Subject) -> None:
        """Learns the masks, and prunes by them."""
        masks = self.masks(subject)
        for neurons, mask in zip(find_neurons(subject.network), masks, strict=True):
            kept = (mask >= self.threshold).astype(np.float32)
            neurons.scale.assign(neurons.scale * kept)

    def masks(self, subject: Subject) -> list[np.ndarray]:
        """Returns the mask of each neuron, in [0, 1], layer by layer."""
        found = find_neurons(subject.network)
        masks = [tf.Variable(tf.ones(each.count)) for each in found]
        velocities = [tf.Variable(tf.zeros(each.count)) for each in found]
        generator, game = subject.generator(), _Game(subject, found, self)

        @tf.function(autograph=False)
        def step(images: tf.Tensor, labels: tf.Tensor, start: list[tf.Tensor]) -> None:
            gradients = game.gradients([each.value() for each in masks], images, labels, start)
            for mask, velocity, gradient in zip(masks, velocities, gradients, strict=True):
                moved = _MOMENTUM * velocity + gradient
                velocity.assign(moved)
                mask.assign(tf.clip_by_value(mask - self.learning_rate * moved, 0, 1))

        size = min(self.batch_size, len(subject.images))
        for _ in range(self.steps):
            chosen = generator.choice(len(subject.images), size, replace=False)
            start = [
                tf.constant(generator.uniform(-self.epsilon, self.epsilon, each.count), tf.float32)
                for each in [*found, *found]
            ]
            step(tf.constant(subject.images[chosen]), tf.constant(subject.labels[chosen]), start)
        return [mask.numpy() for mask in masks]


@dataclasses.dataclass(frozen=True)
class Neurons:
    """The neurons of one layer: what scales each of them, along the last axis, and what shifts."""

    scale: keras.Variable
    shift: keras.Variable | None

    @property
    def count(self) -> int:
        """Their number."""
        return self.scale.shape[-1]


def find_neurons(network: keras.Model) -> list[Neurons]:
    """Returns the neurons that are pruned, layer by layer.

    Raises:
        ValueError: the network has none whose weights train.
    """
    trained = {id(each) for each in network.trainable_variables}
    layers = network._flatten_layers(include_self=False)
    normalizations = [each for each in layers if isinstance(each, keras.layers.BatchNormalization)]
    found = [Neurons(each.gamma, each.beta) for each in normalizations if each.scale]
    if not found:
        kinds = (keras.layers.Conv2D, keras.layers.Dense)
        layers = [each for each in layers if type(each) in kinds]
        found = [Neurons(each.kernel, each.bias) for each in layers[:-1]]
    found = [each for each in found if id(each.scale) in trained]
    if not found:
        raise ValueError(
            "Expected a network with neurons to prune: BatchNormalization with a scale, or "
            "convolutions and Dense layers before the last, that train. Received: "
            f"{network.name!r}, which has none. Choose another method: universal, fine_tuning_sam."
        )
    return found


class _Game:
    """What masks lose, and what perturbations win by it."""

    def __init__(
        self, subject: Subject, neurons: list[Neurons], settings: AdversarialNeuronPruning
    ):
        self._classifier, self._neurons, self._settings = subject.classifier, neurons, settings
        positions = {id(each): at for at, each in enumerate(subject.network.trainable_variables)}
        self._scales = [positions[id(each.scale)] for each in neurons]
        self._shifts = [positions.get(id(each.shift)) for each in neurons]

    def gradients(
        self,
        masks: list[tf.Tensor],
        images: tf.Tensor,
        labels: tf.Tensor,
        start: list[tf.Tensor],
    ) -> list[tf.Tensor]:
        """Returns the gradients of what the masks lose, perturbed and not."""
        epsilon, share = self._settings.epsilon, self._settings.clean_share
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(start)
            loss = self._loss(masks, start, images, labels)
        signs = [tf.sign(each) for each in tape.gradient(loss, start, unconnected_gradients="zero")]
        worst = [
            tf.clip_by_value(each + epsilon * sign, -epsilon, epsilon)
            for each, sign in zip(start, signs, strict=True)
        ]
        none = [tf.zeros_like(each) for each in start]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(masks)
            loss = share * self._loss(masks, none, images, labels)
            loss += (1 - share) * self._loss(masks, worst, images, labels)
        return tape.gradient(loss, masks)

    def _loss(
        self,
        masks: list[tf.Tensor],
        changes: list[tf.Tensor],
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> tf.Tensor:
        weights = list(self._classifier.weights)
        of_scales, of_shifts = changes[: len(masks)], changes[len(masks) :]
        for scale, mask, change in zip(self._scales, masks, of_scales, strict=True):
            weights[scale] *= mask + change
        for shift, change in zip(self._shifts, of_shifts, strict=True):
            if shift is not None:
                weights[shift] *= 1 + change
        return self._classifier.loss(images, labels, weights)
