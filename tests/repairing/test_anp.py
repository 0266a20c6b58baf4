"""Adversarial neuron pruning: one step worked out with NumPy, and which neurons there are."""

import keras
import numpy as np
import planted

from tfpoison.repairing.anp import AdversarialNeuronPruning, find_neurons
from tfpoison.repairing.subject import Subject

IMAGES, LABELS = planted.images(10)


def loss_and_slopes(scale, shift, kernel, head, images, labels):
    """The cross-entropy, and its slopes by what multiplies scales and shifts, (units,) each."""
    flat = images.reshape(len(images), -1).astype(float)
    through = flat @ (kernel * scale) + shift
    logits = np.clip(through, 0, 12) @ head
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    errors = exponents / exponents.sum(axis=1, keepdims=True) - np.eye(planted.CLASSES)[labels]
    back = (errors @ head.T) * ((through > 0) & (through < 12)) / len(images)
    return (back * (flat @ kernel)).sum(axis=0), back.sum(axis=0)


def test_one_step_of_the_masks():
    network, epsilon, share, rate = planted.network(), 0.4, 0.2, 0.01
    settings = {"epsilon": epsilon, "clean_share": share, "learning_rate": rate}
    method = AdversarialNeuronPruning(steps=1, batch_size=10, **settings)
    subject = Subject.of(network, IMAGES, LABELS)
    (masks,) = method.masks(subject)

    kernel, bias, head, _ = (each.astype(float) for each in network.get_weights())
    generator = subject.generator()
    generator.choice(10, 10, replace=False)
    of_scale, of_shift = (generator.uniform(-epsilon, epsilon, 6) for _ in range(2))
    given = (kernel, head, IMAGES, LABELS)
    by_scale, by_shift = loss_and_slopes(1 + of_scale, (1 + of_shift) * bias, *given)
    of_scale, of_shift = (
        np.clip(start + epsilon * np.sign(slope), -epsilon, epsilon)
        for start, slope in ((of_scale, by_scale), (of_shift, by_shift * bias))
    )
    perturbed = loss_and_slopes(1 + of_scale, (1 + of_shift) * bias, *given)[0]
    clean = loss_and_slopes(1.0, bias, *given)[0]
    slope = share * clean + (1 - share) * perturbed
    np.testing.assert_allclose(masks, np.clip(1 - rate * slope, 0, 1), atol=1e-5)
    assert masks.min() < 1  # Something is learned.


def test_neurons_are_those_of_batch_normalization_where_there_is_any():
    network = planted.network(normalized=True)
    normalization = network.get_layer("normalization")
    (found,) = find_neurons(network)
    assert found.scale is normalization.gamma and found.shift is normalization.beta
    assert found.count == 6
    convolution, hidden = keras.layers.Conv2D(3, 2, use_bias=False), keras.layers.Dense(4)
    head = keras.layers.Dense(2)
    layers = [keras.Input((4, 4, 1)), convolution, keras.layers.Flatten(), hidden, head]
    first, second = find_neurons(keras.Sequential(layers))
    assert first.scale is convolution.kernel and first.shift is None
    assert second.scale is hidden.kernel and (first.count, second.count) == (3, 4)
