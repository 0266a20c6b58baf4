"""Poisons: what a recipe makes of a data set, in one file."""

import dataclasses
import os
import pathlib
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfpoison.checks import check_array, check_number
from tfpoison.data import Examples
from tfpoison.perturbations import triggers
from tfpoison.pixel_range import PixelRange
from tfpoison.recipes import poisons_file
from tfpoison.recipes.fingerprints import digests_of, fingerprint
from tfpoison.recipes.poisoned_examples import PoisonedExamples
from tfpoison.recipes.poisoned_pipeline import poison_pipeline
from tfpoison.recipes.threat import Threat, positions_of

_ARRAYS = ("ids", "perturbations", "labels", "clean_labels", "digests")
_DESCRIBED = ("data_set", "fingerprint", "split_size", "classes", "settings")


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
            if (each := getattr(threat, name)) is not None:
                check_number(name, each, maximum=self.classes - 1, whole=True)
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
            poisoned: the images of `threat.poison_ids` as they should be, uint8 (n, H, W, C).
            labels: the labels that the poisons are given; None for their true ones.
            settings: how they were made.
        """
        positions = positions_of(train, threat.poison_ids)
        clean, clean_labels = train.read(positions), train.labels[positions]
        labels = clean_labels if labels is None else np.asarray(labels, np.int64)
        known = [train.labels, labels, threat.adversarial_class, threat.target_class or 0]
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
        covers = self.ids[rows][self.threat.is_cover[rows]]
        threat = dataclasses.replace(self.threat, poison_ids=self.ids[rows], cover_ids=covers)
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

    def poison(self, train: Examples) -> PoisonedExamples:
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
        return poison_pipeline(self, dataset, PixelRange(pixel_range))

    # Files.

    def save(self, path: str | os.PathLike) -> pathlib.Path:
        """Writes the poisons to a file, whole or not at all, and returns its path."""
        return poisons_file.write(path, self._parts())

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads poisons from a file that `save` wrote, without running anything in it.

        Raises:
            ValueError: the file is missing, damaged, or something else.
        """
        arrays, description = poisons_file.read(path)
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

    def _parts(self) -> poisons_file.Parts:
        threat, trigger = self.threat, self.threat.trigger
        arrays = {
            **{name: getattr(self, name) for name in _ARRAYS},
            "target_ids": threat.target_ids,
            "source_ids": threat.source_ids,
            **({"cover_ids": threat.cover_ids} if len(threat.cover_ids) else {}),
        }
        description = {
            **{name: getattr(self, name) for name in _DESCRIBED},
            "image_shape": list(self.image_shape),
            "key": threat.key,
            "target_class": threat.target_class,
            "adversarial_class": threat.adversarial_class,
            "trigger": None,
        }
        if trigger is not None:
            pattern, description["trigger"] = triggers.to_parts(trigger)
            arrays |= pattern
        return arrays, description

    @classmethod
    def _from_parts(cls, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> Self:
        trigger = None
        if description["trigger"] is not None:
            trigger = triggers.from_parts(arrays, description["trigger"])
        threat = Threat(
            key=description["key"],
            target_ids=arrays["target_ids"],
            target_class=description["target_class"],
            adversarial_class=description["adversarial_class"],
            poison_ids=arrays["ids"],
            trigger=trigger,
            source_ids=arrays["source_ids"],
            cover_ids=arrays.get("cover_ids", np.zeros(0, np.int64)),
        )
        parts: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        parts |= {name: description[name] for name in _DESCRIBED}
        return cls(threat=threat, image_shape=tuple(description["image_shape"]), **parts)
