"""A training set with poisons in it."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfpoison.data import Examples
from tfpoison.recipes.threat import positions_of

if TYPE_CHECKING:
    from tfpoison.recipes.poisons import Poisons


class PoisonedExamples(Examples):
    """A training set with poisons in it, of one adversary or several.

    Raises:
        ValueError: they are of images that are not there, or some of one image.
    """

    def __init__(self, clean: Examples, *poisons: "Poisons"):
        super().__init__(clean.ids, clean.labels.copy(), clean.image_shape)
        ids = np.concatenate([each.ids for each in poisons])
        positions_of(clean, ids)
        if len(np.unique(ids)) < len(ids):
            raise ValueError("Expected poisons of different images. Received some of one image.")
        order = np.argsort(ids)
        is_poison = np.isin(clean.ids, ids)
        self._clean = clean
        self._poisons = poisons
        self._perturbations = np.concatenate([each.perturbations for each in poisons])[order]
        self._rows = np.full(clean.size, -1, np.int64)
        self._rows[is_poison] = np.searchsorted(ids[order], clean.ids[is_poison])
        labels = np.concatenate([each.labels for each in poisons])[order]
        self.labels[is_poison] = labels[self._rows[is_poison]]

    @property
    def in_memory(self) -> bool:
        return self._clean.in_memory

    @property
    def images(self) -> np.ndarray:
        return self.read(np.arange(self.size))

    def read(self, positions: np.ndarray) -> np.ndarray:
        return self._poison(self._clean.read(positions), self._rows[positions])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        rows = (self._rows[first : first + size] for first in range(0, self.size, size))
        return map(self._poison, self._clean.batches(size), rows)

    def references(self, key: tf.Tensor | None) -> tf.data.Dataset:
        return self._clean.references(key)

    def positions(self, references: Any) -> tf.Tensor:
        return self._clean.positions(references)

    def fetch(self, references: Any) -> tuple[tf.Tensor, tf.Tensor]:
        images, _ = self._clean.fetch(references)
        positions = self._clean.positions(references)
        row_of_each, perturbations, labels = self._tensors
        changes = tf.gather(perturbations, tf.gather(row_of_each, positions))
        poisoned = tf.clip_by_value(tf.cast(images, tf.int16) + changes, 0, 255)
        return tf.cast(poisoned, tf.uint8), tf.gather(labels, positions)

    def select(self, positions: np.ndarray, labels: np.ndarray | None = None) -> Examples:
        clean = self._clean.select(positions, labels)
        inside = (np.flatnonzero(np.isin(each.ids, clean.ids)) for each in self._poisons)
        chosen = zip(self._poisons, inside, strict=True)
        return PoisonedExamples(clean, *(each.select(rows) for each, rows in chosen))

    def _poison(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        poisons = rows >= 0
        changed = images[poisons].astype(np.int16) + self._perturbations[rows[poisons]]
        images = images.copy()
        images[poisons] = np.clip(changed, 0, 255)
        return images

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # A last row of zeros for images that are no poisons: a filter may have left none that are.
        none = np.zeros((1, *self._perturbations.shape[1:]), self._perturbations.dtype)
        rows = np.where(self._rows < 0, len(self._perturbations), self._rows)
        with tf.init_scope(), tf.device("CPU:0"):
            return (
                tf.constant(rows),
                tf.constant(np.concatenate([self._perturbations, none])),
                tf.constant(self.labels),
            )
