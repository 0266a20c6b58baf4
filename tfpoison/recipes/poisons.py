"""Poisons: what a recipe makes of a data set, in one file."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfpoison import files, valid_json
from tfpoison.checks import check_array, check_number
from tfpoison.data import Examples, order
from tfpoison.pixel_range import PixelRange
from tfpoison.recipes.fingerprints import (
    digest_of_element,
    digests_of,
    fingerprint,
)
from tfpoison.recipes.threat import Threat, positions_of
from tfpoison.recipes.trigger import Trigger

FORMAT = "tfpoison poisons 2"


@dataclasses.dataclass(frozen=True, eq=False)
class Poisons:
    """Training images that an adversary changes, and how.

    Images are 8-bit, and so are poisons: perturbations are whole grey levels.

    Attributes:
        ids: which images of the training split, int64 ascending, (n,).
        perturbations: what is added to their pixels, int16 in grey levels, (n, H, W, C). A pasted
            trigger is the difference that it makes.
        labels: the labels that the poisons are given, int64 (n,).
        clean_labels: the labels of the images, int64 (n,).
        digests: SHA-256 of each clean image, uint8 (n, 32).
        threat: who the poisons are for.
        data_set: the name of the data set.
        fingerprint: of the training set that they were made for.
        image_shape: height, width and channels.
        split_size: the least number of images of its split, one more than the largest id.
        classes: the least number of classes, one more than the largest label.
        settings: how they were made, as JSON can hold it.

    Raises:
        ValueError, TypeError: the parts do not go together, or are not what they should be.
    """

    ids: np.ndarray
    perturbations: np.ndarray
    labels: np.ndarray
    clean_labels: np.ndarray
    digests: np.ndarray
    threat: Threat
    data_set: str
    fingerprint: str
    image_shape: tuple[int, int, int]
    split_size: int
    classes: int
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        kinds = {"data_set": str, "fingerprint": str, "settings": dict, "image_shape": tuple}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"Expected `{name}` to be a {kind.__name__}. Received: {getattr(self, name)!r}"
                )
        for side in self.image_shape:
            check_number("image_shape", side, minimum=1, whole=True)
        for name in ("split_size", "classes"):
            check_number(name, getattr(self, name), minimum=1, whole=True)
        count, threat = len(self.ids), self.threat
        ids = (("ids", self.ids, count), ("source_ids", threat.source_ids, None))
        for name, some, length in ids:
            last = self.split_size - 1
            check_array(name, some, np.int64, (length,), minimum=0, maximum=last, ascending=True)
        for name in ("labels", "clean_labels"):
            labels, last = getattr(self, name), self.classes - 1
            check_array(name, labels, np.int64, (count,), minimum=0, maximum=last)
        for name in ("target_class", "adversarial_class"):
            check_number(name, getattr(threat, name), maximum=self.classes - 1, whole=True)
        check_array("digests", self.digests, np.uint8, (count, 32), minimum=0)
        images = count, *self.image_shape
        check_array(
            "perturbations", self.perturbations, np.int16, images, minimum=-255, maximum=255
        )
        if not np.array_equal(self.ids, threat.poison_ids):
            raise ValueError(
                f"Expected the ids of the threat's poisons, {threat.poison_ids}. Received: "
                f"{self.ids}"
            )
        if threat.trigger is not None:
            threat.trigger.check(self.image_shape)

    @classmethod
    def make(
        cls,
        train: Examples,
        poisoned: np.ndarray,
        threat: Threat,
        *,
        data_set: str,
        labels: np.ndarray | None = None,
        settings: dict[str, Any] | None = None,
    ) -> Self:
        """Returns the poisons that turn images of a training set into others.

        Args:
            train: the training set.
            poisoned: the images of `threat.poison_ids` as they should be, uint8 (n, H, W, C).
            threat: who the poisons are for.
            data_set: the name of the data set.
            labels: the labels that the poisons are given; None for their true ones.
            settings: how they were made.
        """
        positions = positions_of(train, threat.poison_ids)
        clean, clean_labels = train.read(positions), train.labels[positions]
        labels = clean_labels if labels is None else np.asarray(labels, np.int64)
        known = [train.labels, labels, [threat.target_class, threat.adversarial_class]]
        return cls(
            ids=threat.poison_ids,
            perturbations=poisoned.astype(np.int16) - clean.astype(np.int16),
            labels=labels,
            clean_labels=clean_labels,
            digests=digests_of(clean),
            threat=threat,
            data_set=data_set,
            fingerprint=fingerprint(train),
            image_shape=train.image_shape,
            split_size=int(train.ids.max()) + 1,
            classes=int(max(map(np.max, known))) + 1,
            settings=settings or {},
        )

    @property
    def size(self) -> int:
        """The number of poisons."""
        return len(self.ids)

    @property
    def epsilon(self) -> float:
        """The largest change of a pixel, as a share of the pixel range."""
        return float(np.abs(self.perturbations).max(initial=0)) / 255

    def select(self, rows: np.ndarray) -> Self:
        """Returns some of the poisons, those in these rows."""
        parts = {name: getattr(self, name)[rows] for name in _ARRAYS}
        threat = dataclasses.replace(self.threat, poison_ids=self.ids[rows])
        return dataclasses.replace(self, **parts, threat=threat)

    # Applying.

    def check(self, train: Examples) -> None:
        """Raises ValueError where the poisons were made for another training set."""
        theirs = fingerprint(train)
        if theirs != self.fingerprint:
            raise ValueError(
                f"Expected the training set that the poisons were made for, {self.data_set!r} with "
                f"the fingerprint {self.fingerprint[:12]}. Received one of {train.size} images of "
                f"{train.image_shape} with {theirs[:12]}. Give the flags of data that made them."
            )
        positions = positions_of(train, self.ids)
        images = train.read(positions)
        if (
            images.shape != self.perturbations.shape
            or not np.array_equal(train.labels[positions], self.clean_labels)
            or not np.array_equal(digests_of(images), self.digests)
        ):
            raise ValueError(
                f"Expected the images and labels of {self.data_set!r} that the poisons were made "
                "for. Received others under their ids: the poisons were changed."
            )

    def check_classes(self, classes: int) -> None:
        """Raises ValueError where labels of the poisons are none of so many classes."""
        if self.classes > classes:
            raise ValueError(
                f"Expected poisons of the {classes} classes of {self.data_set!r}. Received some "
                f"for {self.classes} classes: the poisons were changed."
            )

    def poisoned_images(self, train: Examples) -> np.ndarray:
        """Returns the poisons as they are trained on, uint8 (n, H, W, C)."""
        clean = train.read(positions_of(train, self.ids)).astype(np.int16)
        return np.clip(clean + self.perturbations, 0, 255).astype(np.uint8)

    def poison(self, train: Examples) -> "PoisonedExamples":
        """Returns the training set with the poisons in it.

        Raises:
            ValueError: it is not the training set that they were made for.
        """
        self.check(train)
        return PoisonedExamples(train, self)

    def apply(self, dataset: tf.data.Dataset, *, pixel_range: Any = (0.0, 1.0)) -> tf.data.Dataset:
        """Returns a `tf.data` pipeline with the poisons in it.

        Args:
            dataset: single (image, label) of the whole split, before any shuffling, batching or
                augmentation: as `tfds.load` reads it with `shuffle_files=False`, or
                `image_dataset_from_directory` with `shuffle=False, batch_size=None` and the size
                of the images as they are. Images are integers in 0–255, or floats in
                `pixel_range`; labels integers.
            pixel_range: the range of floating-point pixels; see `RobustModel`.

        Raises:
            ValueError: the elements are something else, or not the images that the poisons were
                made for (the whole data set is read once to see).
        """
        spec = dataset.element_spec
        single = isinstance(spec, tuple) and len(spec) == 2 and spec[0].shape.rank == 3
        if not single or spec[1].shape.rank != 0 or not spec[1].dtype.is_integer:
            raise ValueError(
                "Expected a data set of single (image, integer label), before batching. "
                f"Received elements of {spec}"
            )
        pixels = PixelRange(pixel_range)
        numbers = self._find(dataset, pixels)
        rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(numbers, np.arange(self.size)), default_value=-1
        )
        with tf.device("CPU:0"):
            perturbations, labels = tf.constant(self.perturbations), tf.constant(self.labels)

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

    def _find(self, dataset: tf.data.Dataset, pixels: PixelRange) -> np.ndarray:
        """Returns the numbers of the elements that are to be poisoned, int64 (n,)."""
        if order.file_names(dataset, int(dataset.cardinality())) is not None:
            # Whoever lists a folder has an order of their own.
            order.check(dataset)
            return self._find_by_content(dataset, pixels)
        numbers, positions = self.ids, order.positions(dataset)
        if positions is not None:
            elements = np.full(max(len(positions), self.ids.max(initial=0) + 1), len(positions))
            elements[positions] = np.arange(len(positions))
            numbers = elements[self.ids]
        self._check_elements(dataset, pixels, numbers)
        return numbers

    def _find_by_content(self, dataset: tf.data.Dataset, pixels: PixelRange) -> np.ndarray:
        rows: dict[tuple[bytes, int], list[int]] = {}
        for row in reversed(range(self.size)):
            key = self.digests[row].tobytes(), int(self.clean_labels[row])
            rows.setdefault(key, []).append(row)
        numbers = np.full(self.size, -1)
        for number, (image, label) in enumerate(dataset):
            # Of equal images with equal labels it makes no difference which is poisoned.
            if left := rows.get((digest_of_element(image, pixels), int(label))):
                numbers[left.pop()] = number
        missing = np.flatnonzero(numbers < 0)
        if len(missing):
            raise ValueError(
                f"Expected the images of {self.data_set!r} that the poisons were made for, in "
                f"their own size. Received others: {len(missing)} of {self.size} are not among "
                "them."
            )
        return numbers

    def _check_elements(
        self, dataset: tf.data.Dataset, pixels: PixelRange, numbers: np.ndarray
    ) -> None:
        left = iter(np.argsort(numbers))
        row = next(left, None)
        for number, (image, label) in enumerate(dataset):
            if row is None:
                return
            if number != numbers[row]:
                continue
            matches = image.shape == self.perturbations.shape[1:] and np.array_equal(
                np.frombuffer(digest_of_element(image, pixels), np.uint8), self.digests[row]
            )
            if not matches or int(label) != self.clean_labels[row]:
                raise ValueError(
                    f"Expected the images of {self.data_set!r} that the poisons were made for, in "
                    f"their order. Received another image or label at position {number}."
                )
            row = next(left, None)
        if row is not None:
            raise ValueError(
                f"Expected the whole split of {self.data_set!r} that the poisons were made for. "
                f"Received a data set that ends before position {int(self.ids[row])}."
            )

    # Files.

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes the poisons to a file, whole or not at all.

        The file is a NumPy archive of plain arrays; reading it runs no code.
        """
        arrays, description = self._parts()
        arrays["description"] = np.array(valid_json.dumps(description, sort_keys=True))
        arrays["checksum"] = np.array(_checksum(arrays))
        return files.write_whole(path, lambda file: files.write_arrays(file, arrays, compress=True))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads poisons from a file that `save` wrote, without running anything in it.

        Raises:
            ValueError: the file is missing, damaged, or something else.
        """
        if not os.path.exists(path):
            raise ValueError(f"Expected a file of poisons. There is none: {path}")
        try:
            arrays = files.read_arrays(path, most=_MOST_ARRAYS)
        except ValueError as error:
            raise ValueError(
                "Expected a file of poisons. Received one that is damaged or something else: "
                f"{error}"
            ) from error
        texts = [arrays.get(name, np.zeros(0)) for name in ("description", "checksum")]
        if any(each.dtype.kind != "U" or each.ndim for each in texts):
            raise ValueError(f"Expected a file of poisons. Received something else: {path}")
        checksum = str(arrays.pop("checksum"))
        if _checksum(arrays) != checksum:
            raise ValueError(f"Expected a file of poisons as it was written. {path} was changed.")
        description = _read_description(str(arrays.pop("description")), path)
        if description.get("format") != FORMAT:
            raise ValueError(
                f"Expected a file of the format {FORMAT!r}. Received {description.get('format')!r}"
                f" in {path}: poisons of another version are brewed anew."
            )
        try:
            poisons = cls._from_parts(arrays, description)
            if not poisons.size or not len(poisons.threat.target_ids):
                raise ValueError("Expected poisons for one target or more. Received none.")
        except KeyError as error:
            raise ValueError(
                f"Expected a file of poisons with all its parts. {path} lacks some: {error}"
            ) from error
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected a file of poisons whose parts go together. Received {path}: {error}"
            ) from error
        for given, known in zip((arrays, description), poisons._parts(), strict=True):
            if given.keys() != known.keys():
                raise ValueError(
                    f"Expected a file of poisons, and nothing else in it. Received {path}, with "
                    f"{', '.join(sorted(given.keys() - known.keys()))[:80]}"
                )
        return poisons

    def _parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        threat, trigger = self.threat, self.threat.trigger
        arrays = {
            **{name: getattr(self, name) for name in _ARRAYS},
            "target_ids": threat.target_ids,
            "source_ids": threat.source_ids,
        }
        description = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in _DESCRIBED},
            "image_shape": list(self.image_shape),
            "key": threat.key,
            "target_class": threat.target_class,
            "adversarial_class": threat.adversarial_class,
            "trigger": None,
        }
        if trigger is not None:
            arrays["trigger"] = trigger.pattern
            description["trigger"] = {"place": trigger.place, "seed": trigger.seed}
        return arrays, description

    @classmethod
    def _from_parts(cls, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> Self:
        trigger = None
        if description["trigger"] is not None:
            place = description["trigger"]["place"]
            trigger = Trigger(
                arrays["trigger"],
                None if place is None else tuple(place),
                description["trigger"]["seed"],
            )
        threat = Threat(
            key=description["key"],
            target_ids=arrays["target_ids"],
            target_class=description["target_class"],
            adversarial_class=description["adversarial_class"],
            poison_ids=arrays["ids"],
            trigger=trigger,
            source_ids=arrays["source_ids"],
        )
        parts: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        parts |= {name: description[name] for name in _DESCRIBED}
        return cls(threat=threat, image_shape=tuple(description["image_shape"]), **parts)


_ARRAYS = ("ids", "perturbations", "labels", "clean_labels", "digests")
# With the targets, the sources, the trigger, the description and the checksum.
_MOST_ARRAYS = len(_ARRAYS) + 5
_DESCRIBED = ("data_set", "fingerprint", "split_size", "classes", "settings")


def _read_description(text: str, path: str | os.PathLike) -> dict[str, Any]:
    try:
        description = files.parse_json(text)
    except ValueError:
        description = None
    if not isinstance(description, dict):
        raise ValueError(
            "Expected a file of poisons with a description, as JSON with names. Received: "
            f"{path}, with {text[:80]!r}"
        )
    return description


class PoisonedExamples(Examples):
    """A training set with poisons in it."""

    def __init__(self, clean: Examples, poisons: Poisons):
        super().__init__(clean.ids, clean.labels.copy(), clean.image_shape)
        positions_of(clean, poisons.ids)
        is_poison = np.isin(clean.ids, poisons.ids)
        self._clean = clean
        self._poisons = poisons
        self._rows = np.full(clean.size, -1, np.int64)
        self._rows[is_poison] = np.searchsorted(poisons.ids, clean.ids[is_poison])
        self.labels[is_poison] = poisons.labels[self._rows[is_poison]]

    @property
    def in_memory(self) -> bool:
        """Whether the clean images are held in memory."""
        return self._clean.in_memory

    @property
    def images(self) -> np.ndarray:
        """All images, uint8 in 0–255, (size, H, W, C)."""
        return self.read(np.arange(self.size))

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Returns the images at these positions, poisoned."""
        return self._poison(self._clean.read(positions), self._rows[positions])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yields all images in order, poisoned, at most `size` at a time."""
        rows = (self._rows[first : first + size] for first in range(0, self.size, size))
        return map(self._poison, self._clean.batches(size), rows)

    def references(self, key: tf.Tensor | None) -> tf.data.Dataset:
        """Returns the references of the clean examples."""
        return self._clean.references(key)

    def positions(self, references: Any) -> tf.Tensor:
        """Returns the positions of a batch of references."""
        return self._clean.positions(references)

    def fetch(self, references: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Fetches the clean images and adds the poisons' perturbations."""
        images, _ = self._clean.fetch(references)
        positions = self._clean.positions(references)
        row_of_each, perturbations, labels = self._tensors
        rows = tf.gather(row_of_each, positions)
        changes = tf.gather(perturbations, tf.maximum(rows, 0))
        changes = tf.where((rows >= 0)[:, None, None, None], changes, tf.zeros_like(changes))
        poisoned = tf.clip_by_value(tf.cast(images, tf.int16) + changes, 0, 255)
        return tf.cast(poisoned, tf.uint8), tf.gather(labels, positions)

    def select(self, positions: np.ndarray, labels: np.ndarray | None = None) -> Examples:
        """Returns the examples at ascending positions with the poisons that are among them."""
        clean = self._clean.select(positions, labels)
        rows = np.unique(self._rows[positions])
        return PoisonedExamples(clean, self._poisons.select(rows[rows >= 0]))

    def _poison(self, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
        poisons = rows >= 0
        changed = images[poisons].astype(np.int16) + self._poisons.perturbations[rows[poisons]]
        images = images.copy()
        images[poisons] = np.clip(changed, 0, 255)
        return images

    @functools.cached_property
    def _tensors(self) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.init_scope(), tf.device("CPU:0"):
            return (
                tf.constant(self._rows),
                tf.constant(self._poisons.perturbations),
                tf.constant(self.labels),
            )


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    """Returns a digest of arrays: names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
