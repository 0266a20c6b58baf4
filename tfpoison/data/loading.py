"""Data sets by name."""

import dataclasses
import functools
import inspect
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpoison.checks import check_bool, check_number
from tfpoison.data import subsets
from tfpoison.data.examples import Examples, InMemoryExamples, StreamedExamples
from tfpoison.data.image_classification import Description, ImageClassification
from tfpoison.data.source import Source, Split
from tfpoison.data.sources import SOURCES
from tfpoison.failures import first_line

# Of a data set without a validation split this share is held out.
VALIDATION_SHARE = 0.2
# A split whose decoded images are larger is streamed from disk.
MEMORY_LIMIT_BYTES = 2 * 2**30
_LONGEST_SIDE = 2**15


def load(
    name: str,
    *,
    data_dir: str | pathlib.Path | None = None,
    image_size: Sequence[int] | None = None,
    train_size: int | None = None,
    validation_size: int | None = None,
    balanced: bool = False,
    seed: int = 0,
    download: bool = False,
    whole_split: bool = False,
    train_ids: Sequence[int] = (),
    validation_ids: Sequence[int] = (),
) -> ImageClassification:
    """Loads a data set of labelled images.

    Args:
        name: `"digits"`, `"image_folder"` or the name of an image classification data set of
            TensorFlow Datasets, such as `"cifar10"`.
        data_dir: where TFDS keeps its data sets (None: `~/tensorflow_datasets`), or the folder of
            images, `data_dir/train/CLASS/*.png` and `data_dir/test/CLASS/*.png` (or `validation`,
            `val`, `valid`), or `data_dir/CLASS/*.png`: bmp, gif, jpeg, png and webp. None for the
            digits.
        image_size: (height, width) to resize all images to. None: as they are, all alike.
        train_size: the size of a random subset to train on. None: all.
        validation_size: the size of a random subset to validate on. None: all.
        balanced: whether both subsets hold the same number of examples of every class, up to one
            more; without a size, as many as the rarest class allows.
        seed: the seed of the subsets, and of the fifth of the data that is held out for
            validation where there is no split `validation`, `val` or `test`.
        download: whether TFDS may download the data set into `data_dir` if it is not there.
        whole_split: whether images that are held out for validation, where there is no split for
            it, are in the training set as well: for those who validate nothing. The images to
            validate on are all there are, perhaps none, and are not read before they are used.
        train_ids: ids of images that a subset to train on holds in any case.
        validation_ids: ids of images that a subset to validate on holds in any case.

    Returns:
        The data set. Splits of up to 2 GiB are held in memory; larger ones are read from disk when
        they are used, and once beforehand, to see that all of their images can be decoded.

    Raises:
        ValueError: a value cannot be, or the data set is not there, is not one of labelled images,
            or has images that cannot be read, have 16 bits a channel or differ in size.
        TypeError: a value is of the wrong type.
    """
    return _Request(
        name,
        data_dir,
        image_size,
        train_size,
        validation_size,
        balanced,
        seed,
        download,
        whole_split,
        train_ids,
        validation_ids,
    ).load()


def check(name: str, **settings: Any) -> Description:
    """Raises what `load` would raise for these arguments, as far as can be told without reading.

    A data set that `download` asks for is downloaded, since nothing is known of it before.

    Args:
        name: see `load`.
        **settings: the other arguments of `load`.

    Returns:
        What is known of the data set before reading it.

    Raises:
        ValueError: see `load`.
        TypeError: see `load`.
    """
    return _Request(name, **settings).describe()


def file_names(name: str, *, data_dir: str | pathlib.Path | None = None) -> list[str] | None:
    """Returns what the files of the training split are called, CLASS/FILE.

    They stand in the order that `Examples.ids` count. None where images are not in files of their
    own. Arguments and errors are those of `load`.
    """
    return _Request(name, data_dir).source.train.file_names()


def training_labels(name: str, *, data_dir: str | pathlib.Path | None = None) -> np.ndarray:
    """Returns the labels of the whole training split, in the order that `Examples.ids` count.

    They are int64 (n,), also of images that `load` holds out or leaves out. Arguments and errors
    are those of `load`.
    """
    return _Request(name, data_dir).source.train.labels()


@dataclasses.dataclass(frozen=True)
class _Request:
    """What the user asked for."""

    name: str
    data_dir: str | pathlib.Path | None = None
    image_size: Sequence[int] | None = None
    train_size: int | None = None
    validation_size: int | None = None
    balanced: bool = False
    seed: int = 0
    download: bool = False
    whole_split: bool = False
    train_ids: Sequence[int] = ()
    validation_ids: Sequence[int] = ()

    def __post_init__(self) -> None:
        size = self.image_size
        if size is not None and not (
            isinstance(size, list | tuple)
            and len(size) == 2
            and all(isinstance(each, int) and 0 < each <= _LONGEST_SIDE for each in size)
        ):
            raise ValueError(
                "Expected `image_size` to be (height, width), two positive integers of at most "
                f"{_LONGEST_SIDE}. Received: image_size={size!r}"
            )
        for name in ("train_size", "validation_size"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), minimum=1, whole=True)
        for name in ("balanced", "download", "whole_split"):
            check_bool(name, getattr(self, name))
        # scikit-learn takes seeds of 32 bits.
        check_number("seed", self.seed, minimum=0, maximum=2**32 - 1, whole=True)

    @functools.cached_property
    def source(self) -> Source:
        """The data set, of which no image is read yet."""
        if not isinstance(self.name, str):
            raise TypeError(f"Expected a data set's name to be a string. Received: {self.name!r}")
        data_dir = None if self.data_dir is None else str(self.data_dir)
        if self.name not in SOURCES:
            # Their library takes seconds to import.
            from tfpoison.data.tfds_source import tfds_source

            return tfds_source(self.name, data_dir, self.download)
        given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
        given |= {"download": True} if self.download else {}
        known = inspect.signature(SOURCES[self.name]).parameters
        for setting in given.keys() - known:
            raise ValueError(
                f"Expected no `{setting}` for {self.name!r}, which lies "
                f"{'in its `data_dir`' if known else 'in the installation'}. Received: "
                f"{setting}={given[setting]!r}"
            )
        return SOURCES[self.name](**given)

    def describe(self) -> Description:
        """Compares the sizes asked for with those of the splits."""
        train, validation = self.source.train, self.source.validation
        if validation is None:
            held_out = subsets.held_out_size(train.size, VALIDATION_SHARE)
            left = train.size if self.whole_split else train.size - held_out
            to_train, to_validate = (train.name, left), ("held-out", held_out)
        else:
            to_train, to_validate = (train.name, train.size), (validation.name, validation.size)
        return Description(
            self.name,
            self.source.class_names,
            self._image_shape,
            self._size("train_size", *to_train),
            self._size("validation_size", *to_validate),
            train.size,
            (validation or train).size,
        )

    def _size(self, name: str, split: str, available: int) -> int:
        wanted = getattr(self, name)
        if wanted is not None and wanted > available:
            raise ValueError(
                f"Expected `{name}` to be at most {available}, the number of examples of the "
                f"{split} split of {self.name!r}. Received: {name}={wanted}"
            )
        return available if wanted is None else wanted

    @property
    def _image_shape(self) -> tuple[int, int, int] | None:
        height, width, channels = self.source.train.image_shape
        if self.image_size is not None:
            height, width = self.image_size
        if height is None or width is None or channels is None:
            return None
        return height, width, channels

    def load(self) -> ImageClassification:
        """Chooses the subsets and reads them."""
        self.describe()
        train, validation = self.source.train, self.source.validation
        labels = train.labels()
        if validation is None:
            ids, held_out = self._hold_out(labels)
            available = [(train, ids, labels), (train, held_out, labels)]
        else:
            available = [(train, np.arange(train.size), labels)]
            available += [(validation, np.arange(validation.size), validation.labels())]
        shape = self._image_shape or _first_image_shape(train)
        to_train, to_validate = (
            StreamedExamples(split, ids, labels[ids], shape, resize=self.image_size is not None)
            for split, ids, labels in available
        )
        return ImageClassification(
            self.name,
            self.source.class_names,
            self._read(to_train, self.train_size, self.train_ids),
            to_validate
            if self.whole_split
            else self._read(to_validate, self.validation_size, self.validation_ids),
        )

    def _hold_out(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the positions to train on, and those to validate on."""
        if not self.whole_split:
            return subsets.hold_out(labels, VALIDATION_SHARE, self.seed)
        everything = np.arange(len(labels))
        try:
            return everything, subsets.hold_out(labels, VALIDATION_SHARE, self.seed)[1]
        except ValueError:  # Too few to hold any out are enough for those who validate nothing.
            return everything, everything[:0]

    def _read(
        self, available: StreamedExamples, size: int | None, wanted: Sequence[int]
    ) -> Examples:
        """Reads a subset of what is available, with the ids that are wanted."""
        chosen = subsets.choose(
            available.labels,
            size,
            balanced=self.balanced,
            seed=self.seed,
            split=available.split.name,
            first=np.flatnonzero(np.isin(available.ids, wanted)),
        )
        examples = available.select(chosen)
        examples.split.inspect(examples.ids)
        streamed = examples.size * math.prod(examples.image_shape) > MEMORY_LIMIT_BYTES
        if streamed and self._image_shape is None:
            raise ValueError(
                f"Expected `image_size`: the images of {self.name!r} may differ in size, and "
                "are too many to look at all of them first. Received: image_size=None"
            )
        try:
            if not streamed:
                return InMemoryExamples(examples.images, examples.labels, examples.ids)
            # What cannot be decoded is told now, not in the middle of the training.
            for _ in examples.batches(64):
                pass
            return examples
        except tf.errors.OpError as error:
            _check_images(examples)
            raise ValueError(f"Expected images that can be read. {first_line(error)}") from error


def _check_images(examples: StreamedExamples) -> None:
    """Raises ValueError for the first image that cannot be decoded, or has another shape."""
    wanted = set(examples.ids.tolist())
    for position, encoded in enumerate(examples.split.encoded()):
        if position not in wanted:
            continue
        shape = _shape(examples.split, position, encoded)
        if not examples.resize and shape != examples.image_shape:
            raise ValueError(
                f"Expected images of one size, {examples.image_shape}, that of the first one. "
                f"Received: {examples.split.describe(position)} of {shape}. Give `image_size`, "
                "(height, width), to resize them all."
            )


def _first_image_shape(split: Split) -> tuple[int, int, int]:
    split.inspect(np.array([0]))
    return _shape(split, 0, next(iter(split.encoded())))


def _shape(split: Split, position: int, encoded: tf.Tensor) -> tuple[int, int, int]:
    try:
        return tuple(split.decode(encoded).shape)
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"Expected images that can be decoded. Received: {split.describe(position)}: "
            f"{first_line(error)}"
        ) from error
