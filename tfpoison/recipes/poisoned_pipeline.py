"""Poisons in a `tf.data` pipeline of one's own, whose images are found and checked first."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfpoison.data import order
from tfpoison.pixel_range import PixelRange
from tfpoison.recipes.fingerprints import digest_of_element

if TYPE_CHECKING:
    from tfpoison.recipes.poisons import Poisons


def poison_pipeline(
    poisons: "Poisons", dataset: tf.data.Dataset, pixels: PixelRange
) -> tf.data.Dataset:
    """Returns a pipeline with the poisons in it; see `Poisons.apply`."""
    spec = dataset.element_spec
    single = isinstance(spec, tuple) and len(spec) == 2 and spec[0].shape.rank == 3
    if not single or spec[1].shape.rank != 0 or not spec[1].dtype.is_integer:
        raise ValueError(
            "Expected a data set of single (image, integer label), before batching. "
            f"Received elements of {spec}"
        )
    numbers = _find(poisons, dataset, pixels)
    rows = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(numbers, np.arange(poisons.size)), default_value=-1
    )
    with tf.device("CPU:0"):
        perturbations, labels = tf.constant(poisons.perturbations), tf.constant(poisons.labels)

    def poison(number, element):
        image, label = element
        row = rows.lookup(number)
        change = tf.where(row >= 0, perturbations[tf.maximum(row, 0)], tf.zeros([], tf.int16))
        if image.dtype.is_integer:
            poisoned = tf.clip_by_value(tf.cast(image, tf.int16) + change, 0, 255)
            poisoned = tf.cast(poisoned, image.dtype)
        else:
            poisoned = image + pixels.span(image.dtype) * tf.cast(change, image.dtype) / 255
        given = tf.cast(labels[tf.maximum(row, 0)], label.dtype)
        return poisoned, tf.where(row >= 0, given, label)

    return dataset.enumerate().map(poison, tf.data.AUTOTUNE)


def _find(poisons: "Poisons", dataset: tf.data.Dataset, pixels: PixelRange) -> np.ndarray:
    """Returns the numbers of the elements that are to be poisoned, int64 (n,)."""
    if order.file_names(dataset, int(dataset.cardinality())) is not None:
        # Whoever lists a folder has an order of their own.
        order.check(dataset)
        return _find_by_content(poisons, dataset, pixels)
    numbers = order.elements(dataset, poisons.ids)
    _check_elements(poisons, dataset, pixels, numbers)
    return numbers


def _find_by_content(
    poisons: "Poisons", dataset: tf.data.Dataset, pixels: PixelRange
) -> np.ndarray:
    rows: dict[tuple[bytes, int], list[int]] = {}
    for row in reversed(range(poisons.size)):
        key = poisons.digests[row].tobytes(), int(poisons.clean_labels[row])
        rows.setdefault(key, []).append(row)
    numbers = np.full(poisons.size, -1)
    for number, (image, label) in enumerate(dataset):
        # Of equal images with equal labels it makes no difference which is poisoned.
        if left := rows.get((digest_of_element(image, pixels), int(label))):
            numbers[left.pop()] = number
    missing = np.flatnonzero(numbers < 0)
    if len(missing):
        raise ValueError(
            f"Expected the images of {poisons.data_set!r} that the poisons were made for, in "
            f"their own size. Received others: {len(missing)} of {poisons.size} are not among "
            "them."
        )
    return numbers


def _check_elements(
    poisons: "Poisons", dataset: tf.data.Dataset, pixels: PixelRange, numbers: np.ndarray
) -> None:
    left = iter(np.argsort(numbers))
    row = next(left, None)
    for number, (image, label) in enumerate(dataset):
        if row is None:
            return
        if number != numbers[row]:
            continue
        matches = image.shape == poisons.image_shape and np.array_equal(
            np.frombuffer(digest_of_element(image, pixels), np.uint8), poisons.digests[row]
        )
        if not matches or int(label) != poisons.clean_labels[row]:
            raise ValueError(
                f"Expected the images of {poisons.data_set!r} that the poisons were made for, in "
                f"their order. Received another image or label at position {number}."
            )
        row = next(left, None)
    if row is not None:
        raise ValueError(
            f"Expected the whole split of {poisons.data_set!r} that the poisons were made for. "
            f"Received a data set that ends before position {int(poisons.ids[row])}."
        )
