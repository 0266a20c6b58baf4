"""Fine-pruning: cut the features that clean images leave dormant, then fine-tune."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfpoison.evaluation import accuracy
from tfpoison.features import last_dense
from tfpoison.repairing.base import FineTuned
from tfpoison.repairing.subject import Subject
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class FinePruning(FineTuned):
    """Fine-pruning (Liu et al. 2018, arXiv 1805.12185).

    features are pruned in the order of their mean activation on clean images, least first, as long
    as the accuracy on these falls by no more than `tolerance`; then the network is fine-tuned

    The authors prune channels of the last convolutional layer. Here the inputs of the last Dense
    layer are pruned, which are those channels, averaged over the image, in most networks; it makes
    no assumption about what lies before.
    """

    tolerance: float = setting(
        0.04, "What pruning may cost of the accuracy on the clean images.", minimum=0, maximum=1
    )
    epochs: int = setting(20, "Passes over the clean images.", minimum=0)

    def repair(self, subject: Subject) -> None:
        """Prunes, and fine-tunes what is left."""
        head = _head(subject)
        features = np.concatenate(
            [
                subject.classifier.features(tf.constant(part)).numpy()
                for part in np.array_split(subject.images, -(-len(subject.images) // 256))
            ]
        )
        kernel, *bias = head.get_weights()
        kept = keep(features, kernel, sum(bias), subject.labels.argmax(axis=1), self.tolerance)
        head.set_weights([kernel * kept[:, np.newaxis], *bias])
        weights = subject.network.trainable_variables
        masks = [kept[:, np.newaxis] if each is head.kernel else 1.0 for each in weights]

        def gradients(images: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
            free = subject.classifier.weight_gradients(images, labels)
            return [each * mask for each, mask in zip(free, masks, strict=True)]

        self.fine_tune(subject, gradients=gradients)


def keep(
    features: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | float,
    labels: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Returns which features are kept, 1 or 0, float32 (features,).

    Args:
        features: of clean images, (n, features).
        kernel: from features to logits, (features, classes).
        bias: of the logits, (classes,).
        labels: the images' classes, (n,).
        tolerance: by how much the accuracy may fall.
    """
    logits = features @ kernel + bias
    least = accuracy(logits, labels) - tolerance
    order, pruned = np.argsort(np.abs(features).mean(axis=0), kind="stable"), 0
    for count, each in enumerate(order[:-1], start=1):
        logits = logits - np.outer(features[:, each], kernel[each])
        if accuracy(logits, labels) >= least:
            pruned = count
        else:
            break
    kept = np.ones(len(order), np.float32)
    kept[order[:pruned]] = 0
    return kept


def _head(subject: Subject) -> keras.layers.Dense:
    try:
        return last_dense(subject.network)
    except ValueError as error:
        raise ValueError(
            "Expected a network that ends with a Dense layer, whose inputs fine-pruning prunes. "
            f"Received: {subject.network.name!r}, in which none was found. Choose another method: "
            "universal, fine_tuning_sam, unlearning."
        ) from error
