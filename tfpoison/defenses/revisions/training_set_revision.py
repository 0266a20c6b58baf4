"""Revisions of the training set in mid-training, as a Keras callback."""

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison.checks import check_number
from tfpoison.defenses.revisions.base import Revision, check_examples, with_stand_ins
from tfpoison.defenses.revisions.network_check import check_answers, check_network
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose, permutation

# How many images the network is asked about before the training.
_ASKED = 8


class TrainingSetRevision(keras.callbacks.Callback):
    """Revises the training set during `fit`, and hands `fit` its batches.

        defense = TrainingSetRevision(revisions.get("epic"), images, labels, batch_size=128)
        model.fit(defense.batches(), callbacks=[defense], epochs=40)

    What is dropped or changed after an epoch holds from the next epoch on. The model is a Keras
    classifier that returns logits, or a `tfpoison.RobustModel` around one: where the model has an
    attribute `network`, that network is what the revision looks at.

    A `fit` that goes on with `initial_epoch` goes on in the order of the epochs, but a new callback
    knows nothing of earlier revisions, and warns of those that it has missed.

    Args:
        revision: the revision.
        images: uint8 in 0–255, (n, H, W, C). They are copied.
        labels: their classes, integers (n,).
        batch_size: the number of examples of a batch; the last of an epoch may be shorter.
        seed: the seed of the order of examples and of the revision's draws.
        pixel_range: (low, high) that the pixels of the batches live in, as the network takes them.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has a value that cannot be, or it is made within the scope of a
            strategy. When `fit` begins: the training is over before the first revision, an epoch
            has not as many steps as there are batches, or the network is not what
            `Revision.revise` takes. After its first batch: it trains on other data.
    """

    def __init__(
        self,
        revision: Revision,
        images: np.ndarray,
        labels: np.ndarray,
        batch_size: int,
        seed: int = 0,
        pixel_range: Any = (0.0, 1.0),
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
        self._pixels = PixelRange(pixel_range)
        self._pixels.check_channels(images.shape[-1])
        self._next_epoch = 0
        self._kept = np.ones(len(images), bool)
        with tf.device("CPU:0"):
            self._labels = tf.constant(labels, tf.int64)
            self._images = tf.Variable(images, trainable=False)
            self._positions = tf.Variable(np.arange(len(images)), trainable=False)
            self._epoch = tf.Variable(0, trainable=False)
            self._is_read = tf.Variable(False, trainable=False)

    @property
    def kept(self) -> np.ndarray:
        """Which examples are still trained on, bool (n,)."""
        return self._kept.copy()

    @property
    def images(self) -> np.ndarray:
        """The images as they are trained on, uint8 in 0–255, (n, H, W, C)."""
        return self._images.numpy()

    def batches(self) -> tf.data.Dataset:
        """Returns the batches of the epoch that `fit` is in: images, float32, and labels, int64.

        Random examples among those kept stand in for those that were dropped, so that all epochs
        have as many batches. Every iteration reads the training set anew: do not cache it, and
        leave `steps_per_epoch` to Keras. Augmentation may follow as a `map`.
        """
        options = tf.data.Options()
        # What is read ahead of a revision would be trained on behind it.
        options.autotune.enabled = False
        options.experimental_optimization.inject_prefetch = False
        batches = tf.data.Dataset.from_tensors(0).flat_map(self._order).map(self._fetch)
        batches = batches.apply(tf.data.experimental.assert_cardinality(self._steps))
        return batches.with_options(options)

    @property
    def _steps(self) -> int:
        return -(-len(self._labels) // self.batch_size)

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._epochs = self.revision.epochs(self.params["epochs"])
        if self.params["steps"] != self._steps:
            raise ValueError(
                f"Expected epochs of {self._steps} steps, one for each of the `batches` of "
                f"TrainingSetRevision. Received: {self.params['steps'] or 'data of unknown length'}"
                ". Leave steps_per_epoch to Keras, and the size of batches to TrainingSetRevision."
            )
        self._network = self._make_network()
        check_network(self._network)
        check_answers(self._network, self._images[:_ASKED].numpy(), self._labels.numpy())

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        missed = [each for each in self._epochs if self._next_epoch < each <= epoch]
        if missed:
            warnings.warn(
                f"The training goes on at epoch {epoch + 1}, and this TrainingSetRevision has not "
                f"made the revision(s) after epoch(s) {', '.join(map(str, missed))}: what they "
                "dropped or changed is trained on as it was. Go on with the callback that was "
                "there, or start the training again.",
                stacklevel=2,
            )
        self._epoch.assign(epoch)
        self._is_read.assign(False)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if not self._is_read.numpy():
            raise ValueError(
                "Expected `fit` to train on the batches of its TrainingSetRevision: they alone are "
                "revised. Received: other data, or batches that were cached. Call "
                "fit(defense.batches(), callbacks=[defense])."
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._next_epoch = epoch + 1
        if epoch + 1 not in self._epochs:
            return
        revised = self.revision.revise(self._network, self.images, self._labels.numpy(), self.seed)
        self._kept &= revised.kept
        if not self._kept.any():
            raise ValueError(
                "Expected revisions to leave examples to train on. Received: all are dropped by "
                f"{self.revision!r}"
            )
        positions = np.flatnonzero(self._kept)
        self._positions.assign(with_stand_ins(positions, len(self._kept), self.seed))
        self._images.assign(revised.images)

    def _make_network(self) -> keras.Model:
        """Returns the network from images in [0, 1], with a graph, as revisions want it."""
        network = getattr(self.model, "network", self.model)
        low, high = self._pixels.get_config()
        if getattr(self.model, "attack", None) is not None:
            theirs = self.model.pixels.get_config()
            if theirs != (low, high):
                raise ValueError(
                    "Expected the model and TrainingSetRevision to be given the same pixel_range. "
                    f"Received: {theirs} and {(low, high)}"
                )
        first = _first_layer(network)
        if isinstance(first, keras.layers.Rescaling) and np.max(first.scale) * np.max(high) < 0.1:
            raise ValueError(
                "Expected batches in the pixel range that the network takes. Received: a network "
                f"that begins with a Rescaling by {first.scale}, and pixel_range={(low, high)}. "
                "Give TrainingSetRevision(..., pixel_range=(0, 255))."
            )
        if getattr(network, "outputs", None) and (low, high) == (0, 1):
            return network
        rescaling = keras.layers.Rescaling((self._pixels.high - self._pixels.low).tolist(), low)
        return keras.Sequential([keras.Input(self._images.shape[1:]), rescaling, network])

    @tf.autograph.experimental.do_not_convert
    def _order(self, _: tf.Tensor) -> tf.data.Dataset:
        key = Purpose.EXAMPLE_ORDER.key(self.seed, self._epoch.read_value())
        order = permutation(key, len(self._labels))
        return tf.data.Dataset.from_tensor_slices(order).batch(self.batch_size)

    @tf.autograph.experimental.do_not_convert
    def _fetch(self, order: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        self._is_read.assign(True)
        positions = self._positions.sparse_read(order)
        shares = tf.cast(self._images.sparse_read(positions), tf.float32) / 255
        return self._pixels.from_shares(shares), tf.gather(self._labels, positions)


def _first_layer(network: keras.Model) -> keras.Layer | None:
    layer: keras.Layer | None = network
    while isinstance(layer, keras.Model):
        inner = (each for each in layer.layers if not isinstance(each, keras.layers.InputLayer))
        layer = next(inner, None)
    return layer
