"""Labelled images: in memory, or on disk when they are too many."""

import abc
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfpoison import randomness
from tfpoison.data.source import Split

# Shuffling from disk looks this many examples ahead. They wait there as they were compressed.
SHUFFLE_BUFFER = 8192


class Examples(abc.ABC):
    """Labelled images of one split.

    Attributes:
        ids: the positions of the examples in the full split, ascending int64, (size,). They name
            an example for good, whatever subset it is part of.
        labels: the classes, int64, (size,).
        image_shape: height, width and channels.
    """

    def __init__(self, ids: np.ndarray, labels: np.ndarray, image_shape: tuple[int, int, int]):
        self.ids = np.asarray(ids, np.int64)
        self.labels = np.asarray(labels, np.int64)
        self.image_shape = image_shape

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.labels)

    @property
    @abc.abstractmethod
    def in_memory(self) -> bool:
        """Whether the images are held in memory; if not, not all of them may fit into it."""

    @property
    def images(self) -> np.ndarray:
        """All images, uint8 in 0–255, (size, H, W, C). From disk they are read at every access."""
        return self.read(np.arange(self.size))

    @abc.abstractmethod
    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yields all images in order, at most `size` at a time, and holds no more of them."""

    @abc.abstractmethod
    def read(self, positions: np.ndarray) -> np.ndarray:
        """Returns the images at positions from 0 to size - 1, uint8 in 0–255, (n, H, W, C)."""

    @abc.abstractmethod
    def references(self, key: tf.Tensor | None) -> tf.data.Dataset:
        """Returns what `fetch` needs to find each example once: light, to be skipped undecoded.

        The order depends on the key, of `randomness`, alone; None: as they are.
        """

    @abc.abstractmethod
    def fetch(self, references: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns images, uint8 (n, H, W, C), and labels, int64 (n,), of a batch of references."""

    @abc.abstractmethod
    def positions(self, references: Any) -> tf.Tensor:
        """Returns the positions of a batch of references, int64 (n,)."""

    @abc.abstractmethod
    def select(self, positions: np.ndarray, labels: np.ndarray | None = None) -> "Examples":
        """Returns the examples at ascending positions, some perhaps twice, or with other labels."""

    def spread(self, most: int) -> "Examples":
        """Returns the examples; of more than `most` so many, at equal distances."""
        if self.size <= most:
            return self
        return self.select(np.arange(most) * self.size // most)


class InMemoryExamples(Examples):
    """Examples whose images are held as one array.

    Args:
        images: uint8 in 0–255, (size, H, W, C).
        labels: integers, (size,).
        ids: positions in the full split. None: they are the full split.
    """

    in_memory = True

    def __init__(self, images: np.ndarray, labels: np.ndarray, ids: np.ndarray | None = None):
        if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
            raise ValueError(
                "Expected `images` of dtype uint8 and shape (n, H, W, C), and n labels. Received: "
                f"images of {images.dtype} and shape {images.shape}, {len(labels)} labels"
            )
        super().__init__(np.arange(len(labels)) if ids is None else ids, labels, images.shape[1:])
        self._images = images

    @property
    def images(self) -> np.ndarray:
        return self._images

    def batches(self, size: int) -> Iterator[np.ndarray]:
        return (self._images[first : first + size] for first in range(0, self.size, size))

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self._images[positions]

    def references(self, key: tf.Tensor | None) -> tf.data.Dataset:
        if key is None:
            return tf.data.Dataset.range(self.size)
        order = randomness.permutation(key, self.size)
        return tf.data.Dataset.from_tensor_slices(tf.cast(order, tf.int64))

    def fetch(self, references: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = self._tensors
        return tf.gather(images, references), tf.gather(labels, references)

    def positions(self, references: tf.Tensor) -> tf.Tensor:
        return references

    def select(self, positions: np.ndarray, labels: np.ndarray | None = None) -> Examples:
        chosen = self.labels[positions] if labels is None else labels
        return InMemoryExamples(self._images[positions], chosen, self.ids[positions])

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and labels in the host's memory, which the graphs of all pipelines refer to."""
        with tf.init_scope(), tf.device("CPU:0"):
            return tf.constant(self._images), tf.constant(self.labels)


class StreamedExamples(Examples):
    """Examples of a split that are read and decoded whenever they are needed.

    Args:
        resize: whether images are resized to `image_shape`; if not, all of them have it.
    """

    in_memory = False

    def __init__(
        self,
        split: Split,
        ids: np.ndarray,
        labels: np.ndarray,
        image_shape: tuple[int, int, int],
        resize: bool = False,
    ):
        super().__init__(ids, labels, image_shape)
        self.split = split
        self.resize = resize

    def batches(self, size: int) -> Iterator[np.ndarray]:
        return self._decoded(self.ids, size)

    def read(self, positions: np.ndarray) -> np.ndarray:
        wanted = self.ids[positions]
        ids = np.unique(wanted)
        images = np.empty((len(ids), *self.image_shape), np.uint8)
        first = 0
        for batch in self._decoded(ids, 64):
            images[first : first + len(batch)] = batch
            first += len(batch)
        return images if np.array_equal(ids, wanted) else images[np.searchsorted(ids, wanted)]

    def references(self, key: tf.Tensor | None) -> tf.data.Dataset:
        """Returns compressed images with their ids, shuffled within `SHUFFLE_BUFFER` of them."""
        references = self._only(self.ids)
        if key is None:
            return references
        # The order must not depend on TensorFlow's global seed. This sets the seed of the graph
        # that is being built for the epoch, and no other. (With 0 TensorFlow would look at `seed`.)
        tf.random.set_seed(1)
        seed = tf.bitcast(key, tf.int64)
        buffer = min(SHUFFLE_BUFFER, self.size)
        return references.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)

    def fetch(self, references: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        spec = tf.TensorSpec(self.image_shape, tf.uint8)
        images = tf.map_fn(self._decode, references["image"], fn_output_signature=spec)
        return images, tf.gather(tf.constant(self.labels), self.positions(references))

    def positions(self, references: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.searchsorted(tf.constant(self.ids), references["id"], out_type=tf.int64)

    def select(self, positions: np.ndarray, labels: np.ndarray | None = None) -> "StreamedExamples":
        """Returns the examples at ascending positions; ValueError where they get other labels."""
        if labels is not None:
            raise ValueError(
                "Expected a data set of up to 2 GiB where labels are to be changed: larger ones "
                "are read from disk as they are."
            )
        ids, labels = self.ids[positions], self.labels[positions]
        return StreamedExamples(self.split, ids, labels, self.image_shape, self.resize)

    def _decoded(self, ids: np.ndarray, size: int) -> Iterator[np.ndarray]:
        images = self._only(ids).map(lambda each: self._decode(each["image"]), tf.data.AUTOTUNE)
        return images.batch(size).as_numpy_iterator()

    def _decode(self, encoded: tf.Tensor) -> tf.Tensor:
        image = self.split.decode(encoded)
        if self.resize:
            resized = tf.image.resize(image, self.image_shape[:2], antialias=True)
            image = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
        tf.debugging.assert_equal(tf.shape(image), self.image_shape)
        return tf.ensure_shape(image, self.image_shape)

    def _only(self, ids: np.ndarray) -> tf.data.Dataset:
        """Returns compressed images with their ids: of these, ascending, some several times."""
        counts = np.bincount(ids, minlength=1)
        table = tf.constant(counts)
        examples = self.split.encoded().enumerate().take(len(counts))
        examples = examples.filter(lambda each, encoded: table[each] > 0)
        if counts.max() > 1:
            examples = examples.flat_map(
                lambda *each: tf.data.Dataset.from_tensors(each).repeat(table[each[0]])
            )
        return examples.map(lambda each, encoded: {"id": each, "image": encoded})


def as_examples(images: np.ndarray | Examples, labels: np.ndarray | None = None) -> Examples:
    """Returns images and labels of one's own as examples.

    Args:
        images: (n, height, width, channels), uint8 in 0–255 or floats in [0, 1], which are rounded
            to 8 bits; or examples, which bring their labels.
        labels: integers from 0, (n,), or one-hot, (n, classes).

    Raises:
        ValueError: they are something else.
    """
    if isinstance(images, Examples):
        # Of a part of a split the rest is not known here: ids are places among these.
        whole = np.array_equal(images.ids, np.arange(images.size))
        return images if whole else InMemoryExamples(images.images, images.labels)
    images, labels = np.asarray(images), np.asarray(labels)
    if np.issubdtype(images.dtype, np.floating):
        low, high = images.min(initial=1), images.max(initial=0)
        if not (low >= 0 and high <= 1):
            raise ValueError(
                "Expected `images` in uint8, or floats in [0, 1]. Received floats from "
                f"{low:.4g} to {high:.4g}. Scale them."
            )
        images = np.round(255 * images).astype(np.uint8)
    if labels.ndim == 2:
        labels = labels.argmax(axis=1)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1 or (labels < 0).any():
        raise ValueError(
            "Expected `labels` to be integers from 0, (n,), or one-hot, (n, classes). Received: "
            f"{labels.dtype} of shape {labels.shape}"
        )
    return InMemoryExamples(images, labels)
