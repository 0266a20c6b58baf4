"""What a trained network answers: probabilities, accuracies, the adversary's success."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from tfpoison.classifier import Classifier
from tfpoison.data import Examples
from tfpoison.pixel_range import to_unit_range

_BATCH = 512


class Predictor:
    """A network's answers to 8-bit images; traced once, whatever weights it gets later.

    Images are uint8 in 0–255, (n, H, W, C), or examples, of which few at a time are read. The
    network takes images in [0, 1] and gives logits, (n, classes).
    """

    def __init__(self, network: keras.Model):
        self.network = network
        self._classifier = Classifier(network)
        images = tf.TensorSpec(network.input_shape, tf.uint8)
        labels = tf.TensorSpec([None], tf.int64)
        self._probabilities = tf.function(self._predict, [images])
        self._features = tf.function(self._extract, [images])
        self._norms = tf.function(self._gradient_norms, [images, labels])
        self._losses = tf.function(self._cross_entropies, [images, labels])
        self._margins = tf.function(self._log_odds, [images, labels])

    def probabilities(self, images: np.ndarray | Examples) -> np.ndarray:
        """Returns the probability of each class, float32 (n, classes)."""
        return _batchwise(self._probabilities, images)

    def features(self, images: np.ndarray | Examples) -> np.ndarray:
        """Returns the input of the last Dense layer, float32 (n, features)."""
        return _batchwise(self._features, images)

    def losses(self, images: np.ndarray | Examples, labels: np.ndarray) -> np.ndarray:
        """Returns the cross-entropy of each example in nats, float32 (n,)."""
        return _batchwise(self._losses, images, labels)

    def margins(self, images: np.ndarray | Examples, labels: np.ndarray) -> np.ndarray:
        """Returns the log odds of each example's label, log p - log(1 - p), float32 (n,)."""
        return _batchwise(self._margins, images, labels)

    def gradient_norms(self, images: np.ndarray | Examples, labels: np.ndarray) -> np.ndarray:
        """Returns the norm of each example's loss gradient by the last layer's weights, (n,).

        Images of large norm move the network most, and make the strongest poisons (arXiv
        2106.08970, section 3.4). The gradient is the outer product of the features, with a 1 for
        the bias, and p - y.
        """
        return _batchwise(self._norms, images, labels)

    def _predict(self, images: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self._classifier.predictions(to_unit_range(images)))

    def _extract(self, images: tf.Tensor) -> tf.Tensor:
        return self._classifier.features(to_unit_range(images))

    def _cross_entropies(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return self._classifier.losses(to_unit_range(images), labels)

    def _log_odds(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = self._classifier.predictions(to_unit_range(images))
        is_label = tf.one_hot(labels, logits.shape[-1], True, False)
        own = tf.reduce_sum(tf.where(is_label, logits, 0.0), axis=1)
        return own - tf.reduce_logsumexp(tf.where(is_label, -np.inf, logits), axis=1)

    def _gradient_norms(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        images = to_unit_range(images)
        probabilities = tf.nn.softmax(self._classifier.predictions(images))
        errors = probabilities - tf.one_hot(labels, probabilities.shape[-1])
        features = self._classifier.features(images)
        return tf.norm(errors, axis=1) * tf.sqrt(tf.reduce_sum(features**2, axis=1) + 1)


def _batchwise(function: Any, images: np.ndarray | Examples, *others: np.ndarray) -> np.ndarray:
    batches = images.batches(_BATCH) if isinstance(images, Examples) else _slices(images)
    slices = zip(batches, *map(_slices, others), strict=True)
    return np.concatenate([function(*map(tf.constant, each)).numpy() for each in slices])


def _slices(array: np.ndarray) -> Iterator[np.ndarray]:
    return (array[first : first + _BATCH] for first in range(0, len(array), _BATCH))


def most_probable(probabilities: np.ndarray) -> np.ndarray:
    """Returns the most probable class of each example, (n, classes) → integers (n,).

    -1 stands where the network has no answer: of NaNs the first one is the "largest".
    """
    answered = ~np.isnan(probabilities).any(axis=1)
    return np.where(answered, probabilities.argmax(axis=1), -1)


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Returns the share of examples whose most probable class is their label; NaN for none."""
    if not len(labels):
        return float("nan")
    return float((most_probable(probabilities) == labels).mean())


def poison_success(target_probabilities: np.ndarray, adversarial_class: int) -> float:
    """Returns the share of targets that are called what the adversary wants."""
    return float((most_probable(target_probabilities) == adversarial_class).mean())


def measure(
    clean: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    *,
    target_labels: np.ndarray,
    adversarial_class: int,
    poison_classes: np.ndarray,
) -> dict[str, float]:
    """Returns the measures of one victim.

    Args:
        clean: probabilities of clean held-out images, (n, classes).
        labels: their classes, (n,).
        targets: probabilities of the target images, (targets, classes).
        target_labels: the targets' true classes, (targets,).
        adversarial_class: what the adversary wants them to be called.
        poison_classes: the classes that poisons were taken from.
    """

    def of_classes(classes: Any) -> float:
        chosen = np.isin(labels, classes)
        return accuracy(clean[chosen], labels[chosen])

    return {
        "success": poison_success(targets, adversarial_class),
        "robust_accuracy": accuracy(targets, target_labels),
        "clean_accuracy": accuracy(clean, labels),
        "target_class_accuracy": of_classes(np.unique(target_labels)),
        "poison_class_accuracy": of_classes(np.unique(poison_classes)),
        "target_confidence": float(targets[:, adversarial_class].mean()),
        "true_confidence": float(targets[np.arange(len(targets)), target_labels].mean()),
    }


def detection(scores: np.ndarray, suspects: np.ndarray, is_poison: np.ndarray) -> dict[str, float]:
    """Returns how well poisons are told from clean examples.

    Args:
        scores: how suspicious each example is, (n,); larger is more so.
        suspects: who is suspected, bool (n,), and so is_poison.

    Returns:
        `precision`, the share of poisons among the suspects (NaN without suspects); `recall`, the
        share of the poisons that are suspected (the true-positive rate); `false_positive_rate`, the
        share of the others that are; `chance`, the precision of suspects drawn at
        random, which is the share of poisons among all; `roc_auc`, the probability that a poison
        has a larger score than a clean example, ties counted half. All but precision and chance
        are NaN where there are no poisons, or no others.
    """
    nan = float("nan")
    both = 0 < is_poison.sum() < len(is_poison)
    return {
        "precision": float(precision_score(is_poison, suspects, zero_division=nan)),
        "recall": float(recall_score(is_poison, suspects)) if both else nan,
        "false_positive_rate": float(suspects[~is_poison].mean()) if both else nan,
        "chance": float(is_poison.mean()),
        "roc_auc": float(roc_auc_score(is_poison, scores)) if both else nan,
    }
