"""Data sets by name."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpoison.checks import check_bool, check_number
from tfpoison.data import subsets
from tfpoison.data.examples import Examples, InMemoryExamples, StreamedExamples
from tfpoison.data.image_classification import Description, ImageClassification
from tfpoison.data.source import Source, first_line
from tfpoison.data.sources import DIGITS, IMAGE_FOLDER, open_source

# Of a data set without a validation split this share is held out.
VALIDATION_SHARE = 0.2
# A split whose decoded images are larger is streamed from disk.
MEMORY_LIMIT_BYTES = 2 * 2**30
_LONGEST_SIDE = 2**15


def names() -> list[str]:
    """Returns the data sets that need no preparation; any TFDS name is welcome besides."""
    return [DIGITS, IMAGE_FOLDER]


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
    request = _Request(
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
    )
    return request.load(request.open())


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
    request = _Request(name, **settings)
    return request.describe(request.open())


def file_names(name: str, *, data_dir: str | pathlib.Path | None = None) -> list[str] | None:
    """Returns what the files of the training split are called, CLASS/FILE.

    They stand in the order that `Examples.ids` count. None where images are not in files of their
    own.

    Args:
        name: see `load`.
        data_dir: see `load`.

    Raises:
        ValueError: there is no such folder of images.
    """
    if name != IMAGE_FOLDER:
        return None
    source = _open(name, data_dir)
    return source.file_names(source.train_split)


def training_labels(name: str, *, data_dir: str | pathlib.Path | None = None) -> np.ndarray:
    """Returns the labels of the whole training split, in the order that `Examples.ids` count.

    Args:
        name: see `load`.
        data_dir: see `load`.

    Returns:
        The labels, int64 (n,), also those of images that `load` holds out or leaves out.

    Raises:
        ValueError: there is no such data set.
    """
    source = _open(name, data_dir)
    return source.labels(source.train_split)


def _open(name: str, data_dir: str | pathlib.Path | None, download: bool = False) -> Source:
    return open_source(name, None if data_dir is None else str(data_dir), download)


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

    def open(self) -> Source:
        """Opens the source."""
        return _open(self.name, self.data_dir, self.download)

    def describe(self, source: Source) -> Description:
        """Compares the sizes asked for with those of the splits."""
        in_train, in_validation = self._sizes(source)
        for name, split, size in [
            ("train_size", source.train_split, in_train),
            ("validation_size", source.validation_split or "held-out", in_validation),
        ]:
            wanted = getattr(self, name)
            if wanted is not None and wanted > size:
                raise ValueError(
                    f"Expected `{name}` to be at most {size}, the number of examples of the "
                    f"{split} split of {self.name!r}. Received: {name}={wanted}"
                )
        return Description(
            source.name,
            source.class_names,
            self._image_shape(source),
            in_train if self.train_size is None else self.train_size,
            in_validation if self.validation_size is None else self.validation_size,
            source.split_size(source.train_split),
            source.split_size(source.validation_split or source.train_split),
        )

    def load(self, source: Source) -> ImageClassification:
        """Chooses the subsets and reads them."""
        self.describe(source)
        labels = source.labels(source.train_split)
        if source.validation_split is None:
            train, validation = self._hold_out(labels)
            validation_split, validation_labels = source.train_split, labels
        else:
            validation_split = source.validation_split
            validation_labels = source.labels(validation_split)
            train, validation = np.arange(len(labels)), np.arange(len(validation_labels))
        image_shape = self._image_shape(source) or _first_image_shape(source)
        to_train = source, source.train_split, labels, train
        to_validate = source, validation_split, validation_labels, validation
        return ImageClassification(
            source.name,
            source.class_names,
            self._read(*to_train, self.train_size, self.train_ids, image_shape),
            self._on_disk(*to_validate, image_shape)
            if self.whole_split
            else self._read(*to_validate, self.validation_size, self.validation_ids, image_shape),
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

    def _sizes(self, source: Source) -> tuple[int, int]:
        """Returns how many examples there are to train on, and to validate on."""
        size = source.split_size(source.train_split)
        if source.validation_split is not None:
            return size, source.split_size(source.validation_split)
        held_out = subsets.held_out_size(size, VALIDATION_SHARE)
        return size if self.whole_split else size - held_out, held_out

    def _image_shape(self, source: Source) -> tuple[int, int, int] | None:
        height, width, channels = source.image_shape
        if self.image_size is not None:
            height, width = self.image_size
        if height is None or width is None or channels is None:
            return None
        return height, width, channels

    def _read(
        self,
        source: Source,
        split: str,
        labels: np.ndarray,
        available: np.ndarray,
        size: int | None,
        wanted: Sequence[int],
        image_shape: tuple[int, int, int],
    ) -> Examples:
        """Reads a subset of the positions that are available in a split, with those wanted."""
        chosen = subsets.choose(
            labels[available],
            size,
            balanced=self.balanced,
            seed=self.seed,
            split=split,
            first=np.flatnonzero(np.isin(available, wanted)),
        )
        ids = available[chosen]
        source.inspect(split, ids)
        examples = self._on_disk(source, split, labels, ids, image_shape)
        streamed = len(ids) * int(np.prod(image_shape)) > MEMORY_LIMIT_BYTES
        if streamed and self._image_shape(source) is None:
            raise ValueError(
                f"Expected `image_size`: the images of {self.name!r} may differ in size, and "
                "are too many to look at all of them first. Received: image_size=None"
            )
        try:
            if not streamed:
                return InMemoryExamples(examples.images, labels[ids], ids)
            # What cannot be decoded is told now, not in the middle of the training.
            for _ in examples.batches(64):
                pass
            return examples
        except tf.errors.OpError as error:
            raise _explain(error, source, split, ids, image_shape, self.image_size) from error

    def _on_disk(
        self,
        source: Source,
        split: str,
        labels: np.ndarray,
        ids: np.ndarray,
        image_shape: tuple[int, int, int],
    ) -> StreamedExamples:
        return StreamedExamples(
            lambda: source.encoded(split),
            lambda encoded: _decode(source, encoded, self.image_size, image_shape),
            ids,
            labels[ids],
            image_shape,
        )


def _first_image_shape(source: Source) -> tuple[int, int, int]:
    source.inspect(source.train_split, np.array([0]))
    _, encoded, _ = next(iter(source.encoded(source.train_split)))
    try:
        return tuple(source.decode(encoded).shape)
    except (tf.errors.OpError, ValueError) as error:
        raise _cannot_be_decoded(error, source, source.train_split, 0) from error


def _cannot_be_decoded(error: Exception, source: Source, split: str, position: int) -> ValueError:
    where = source.describe_position(split, position)
    return ValueError(
        f"Expected images that can be decoded. Received: {where}: {first_line(error)}"
    )


def _decode(
    source: Source,
    encoded: tf.Tensor,
    image_size: Sequence[int] | None,
    image_shape: tuple[int, int, int],
) -> tf.Tensor:
    """Decodes an image; resizes it where the user asked for a size."""
    image = source.decode(encoded)
    if image_size is not None:
        resized = tf.image.resize(image, image_size, antialias=True)
        image = tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)
    tf.debugging.assert_equal(tf.shape(image), image_shape)
    return tf.ensure_shape(image, image_shape)


def _explain(
    error: tf.errors.OpError,
    source: Source,
    split: str,
    ids: np.ndarray,
    image_shape: tuple[int, int, int],
    image_size: Sequence[int] | None,
) -> ValueError:
    """Finds the first image that cannot be read and says what is wrong with it."""
    wanted = set(ids.tolist())
    for position, encoded, _ in source.encoded(split):
        if int(position) not in wanted:
            continue
        try:
            shape = tuple(source.decode(encoded).shape)
        except (tf.errors.OpError, ValueError) as cause:
            return _cannot_be_decoded(cause, source, split, int(position))
        if image_size is None and shape != image_shape:
            where = source.describe_position(split, int(position))
            return ValueError(
                f"Expected images of one size, {image_shape}, that of the first one. Received: "
                f"{where} of {shape}. Give `image_size`, (height, width), to resize them all."
            )
    return ValueError(f"Expected images that can be read. {first_line(error)}")
