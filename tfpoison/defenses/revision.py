"""Defenses that revise the training set in mid-training: by name, and as a Keras callback."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison.checks import check_name, check_number
from tfpoison.defenses.epic import Epic
from tfpoison.defenses.friendly_noise import FriendlyNoise
from tfpoison.defenses.revision_base import Revised, Revision, check_examples
from tfpoison.randomness import Purpose, make_key, permutation

REVISIONS: dict[str, type[Revision]] = {"epic": Epic, "friendly_noise": FriendlyNoise}

__all__ = [
    "REVISIONS",
    "Epic",
    "FriendlyNoise",
    "Revised",
    "Revision",
    "TrainingSetRevision",
    "get",
    "names",
]


def names() -> list[str]:
    """Returns the names of the revisions."""
    return list(REVISIONS)


def get(name: str, **settings: Any) -> Revision:
    """Returns the revision of that name with the settings given.

    Raises:
        ValueError: the name is unknown, or a setting has a value that cannot be.
        TypeError: the revision has no such setting, or a setting has the wrong type.
    """
    check_name("revision", name, names())
    return REVISIONS[name](**settings)


class TrainingSetRevision(keras.callbacks.Callback):
    """Revises the training set during `fit`, and hands `fit` its batches.

        defense = TrainingSetRevision(revision.get("epic"), images, labels, batch_size=128)
        model.fit(defense.batches(), callbacks=[defense], epochs=40)

    What is dropped or changed after an epoch holds from the next epoch on. The model is a Keras
    classifier or a `tfpoison.RobustModel`: where the model has an attribute `network`, that network
    is what the revision looks at.

    A `fit` that goes on with `initial_epoch` goes on in the order of the epochs, but a new callback
    knows nothing of earlier revisions.

    Args:
        revision: the revision.
        images: uint8 in 0–255, (n, H, W, C). They are copied.
        labels: their classes, integers (n,).
        batch_size: the number of examples of a batch; the last of an epoch may be shorter.
        seed: the seed of the order of examples and of the revision's draws.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has a value that cannot be, or it is made within the scope of a
            strategy. In `fit`: the training is over before
            the first revision, or the network is not what `Revision.revise` takes.
    """

    def __init__(
        self,
        revision: Revision,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int = 0,
    ):
        super().__init__()
        if not isinstance(revision, Revision):
            raise TypeError(f"Expected `revision` to be a Revision. Received: {revision!r}")
        if tf.distribute.has_strategy():
            raise ValueError(
                "Expected TrainingSetRevision to be made outside of a strategy's scope: there is "
                "one training set for all replicas. Received: a call within the scope of "
                f"{type(tf.distribute.get_strategy()).__name__}. Make the network alone within it."
            )
        check_examples(images, labels)
        check_number("batch_size", batch_size, minimum=1, whole=True)
        check_number("seed", seed, minimum=0, whole=True)
        self.revision = revision
        self.batch_size = batch_size
        self.seed = seed
        self._epochs: tuple[int, ...] = ()
        with tf.device("CPU:0"):
            self._labels = tf.constant(labels, tf.int64)
            self._images = tf.Variable(images, trainable=False)
            self._kept = tf.Variable(tf.ones(len(images), tf.bool), trainable=False)
            self._epoch = tf.Variable(0, trainable=False)

    @property
    def kept(self) -> np.ndarray:
        """Which examples are still trained on, bool (n,)."""
        return self._kept.numpy()

    @property
    def images(self) -> np.ndarray:
        """The images as they are trained on, uint8 in 0–255, (n, H, W, C)."""
        return self._images.numpy()

    def batches(self) -> tf.data.Dataset:
        """Returns the batches of one epoch, the one that `fit` is in.

        Every iteration reads the training set anew: leave `steps_per_epoch` to Keras, and neither
        cache nor repeat. Augmentation may follow as a `map`. As the number of batches may shrink,
        Keras is not told it; at the end of every epoch it warns that the data ran out, as for any
        data set of unknown length, and goes on with the next epoch.

        Returns:
            A data set of (images, labels): float32 in [0, 1], (n, H, W, C), and int64, (n,).
        """
        return tf.data.Dataset.from_tensors(0).flat_map(self._positions).map(self._fetch)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Finds out after which epochs to act."""
        self._epochs = self.revision.epochs(self.params["epochs"])

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Sets the order of the examples."""
        self._epoch.assign(epoch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Revises the training set, where it is time to."""
        if epoch + 1 not in self._epochs:
            return
        network = getattr(self.model, "network", self.model)
        revised = self.revision.revise(network, self.images, self._labels.numpy(), self.seed)
        self._kept.assign(self.kept & revised.kept)
        self._images.assign(revised.images)

    @tf.autograph.experimental.do_not_convert
    def _positions(self, _: tf.Tensor) -> tf.data.Dataset:
        key = make_key(Purpose.EXAMPLE_ORDER, self.seed, self._epoch.read_value())
        order = permutation(key, len(self._labels))
        order = tf.boolean_mask(order, tf.gather(self._kept.read_value(), order))
        return tf.data.Dataset.from_tensor_slices(order).batch(self.batch_size)

    @tf.autograph.experimental.do_not_convert
    def _fetch(self, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = self._images.sparse_read(positions)
        return tf.cast(images, tf.float32) / 255, tf.gather(self._labels, positions)
