"""Where labelled images come from: data sets of TFDS, and folders of images."""

import contextlib
import functools
import io
import pathlib
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfpoison.checks import suggestion
from tfpoison.data.digits import Digits
from tfpoison.data.image_folder import LAYOUTS, ImageFolder
from tfpoison.data.source import Source, first_line

DIGITS = "digits"
IMAGE_FOLDER = "image_folder"

_TRAIN = "train"
_VALIDATION = ("validation", "val", "test")
_PREPARE_AGAIN = "Remove that folder, and have the data set prepared again: download=True."
# Always in the same order, whatever the number of processors.
_READ_CONFIG = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)


class TFDSSource(Source):
    """A prepared TFDS data set of labelled images.

    Args:
        name: the name that the user gave.
        builder: the TFDS builder.

    Raises:
        ValueError: it is no data set for image classification, or has nothing to train on.
    """

    train_split = _TRAIN

    def __init__(self, name: str, builder: tfds.core.DatasetBuilder):
        self.name = name
        self._builder = builder
        self._check_is_classification()
        features = builder.info.features
        self._image, label = builder.info.supervised_keys
        self.class_names = tuple(features[label].names)
        self.image_shape = tuple(features[self._image].shape)
        self.validation_split = next((each for each in _VALIDATION if self._has(each)), None)

    def split_size(self, split: str) -> int:
        """Returns the number of examples of a split."""
        return self._builder.info.splits[split].num_examples

    def labels(self, split: str) -> np.ndarray:
        """Returns the labels of all examples of a split, int64 (n,)."""
        labels = self.encoded(split).map(lambda position, image, label: label)
        try:
            found = np.concatenate([[], *labels.batch(4096).as_numpy_iterator()]).astype(np.int64)
        except (tf.errors.OpError, OSError) as error:
            raise ValueError(
                f"Expected a data set that can be read. Received: {self._builder.data_dir}, split "
                f"{split!r}: {first_line(error)}. {_PREPARE_AGAIN}"
            ) from error
        strange = np.flatnonzero((found < 0) | (found >= len(self.class_names)))
        if strange.size:
            raise ValueError(
                f"Expected labels from 0 to {len(self.class_names) - 1}. Received: "
                f"{found[strange[0]]} of {self.describe_position(split, int(strange[0]))} of "
                f"{self.name!r} (TFDS writes -1 where the label is not known)."
            )
        return found

    def encoded(self, split: str) -> tf.data.Dataset:
        """Returns (position int64, compressed image, label int64) of all examples of a split."""
        examples = self._builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=False,
            decoders={self._image: tfds.decode.SkipDecoding()},
            read_config=_READ_CONFIG,
        )
        return examples.enumerate().map(lambda position, example: (position, *example))

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes a compressed image: uint8, (H, W, C)."""
        return self._builder.info.features[self._image].decode_example(encoded)

    def describe_position(self, split: str, position: int) -> str:
        """Returns the position of an example, and its split."""
        return f"example {position} of the split {split!r}"

    def inspect(self, split: str, positions: np.ndarray) -> None:
        """Does nothing: TFDS has written the images itself."""

    def _check_is_classification(self) -> None:
        info = self._builder.info
        keys: Any = info.supervised_keys
        is_pair = isinstance(keys, tuple) and len(keys) == 2
        features = dict(info.features.items())
        pair = [features.get(each) for each in keys] if is_pair else [None, None]
        if (
            not isinstance(pair[0], tfds.features.Image)
            or not isinstance(pair[1], tfds.features.ClassLabel)
            or pair[0].np_dtype != np.uint8
            or not pair[1].names
        ):
            found = ", ".join(
                f"{name} ({type(each).__name__})" for name, each in sorted(features.items())
            )
            raise ValueError(
                f"Expected a data set for image classification: a supervised pair of an 8-bit "
                f"Image and a ClassLabel. Received: {self.name!r} with supervised_keys={keys}. "
                f"Its features: {found}"
            )
        if not self._has(_TRAIN):
            raise ValueError(
                f"Expected a data set with a split {_TRAIN!r} that is not empty. Received: "
                f"{self.name!r} with the splits {', '.join(info.splits) or 'none'}"
            )

    def _has(self, split: str) -> bool:
        return split in self._builder.info.splits and self.split_size(split) > 0


def open_source(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a data set by name; none of its images is read yet.

    Raises:
        ValueError: there is no such data set, or it is not there, or holds no labelled images.
        TypeError: the name is no string.
    """
    if name == DIGITS:
        return _open_digits(data_dir, download)
    if name == IMAGE_FOLDER:
        return _open_image_folder(data_dir, download)
    return _open_tfds(name, data_dir, download)


def _open_digits(data_dir: str | None, download: bool) -> Source:
    if data_dir is not None or download:
        raise ValueError(
            "Expected neither `data_dir` nor `download` for 'digits', which are part of the "
            f"installation. Received: data_dir={data_dir!r}, download={download!r}"
        )
    return TFDSSource(DIGITS, _prepare_digits()[0])


@functools.cache
def _prepare_digits() -> tuple[Digits, tempfile.TemporaryDirectory]:
    """Prepares the digits, once for each process: no two are in each other's way.

    Returns:
        The builder, and the directory of its files, which goes when the process ends.
    """
    keeper = tempfile.TemporaryDirectory(prefix="tfpoison_digits_")
    builder = Digits(data_dir=keeper.name)
    tfds.disable_progress_bar()
    try:
        # TFDS prints that it downloads, which it does not.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    return builder, keeper


def _open_image_folder(data_dir: str | None, download: bool) -> Source:
    if data_dir is None or download:
        raise ValueError(
            f"Expected `data_dir` to be a folder of images ({LAYOUTS}), and no download, for "
            f"'image_folder'. Received: data_dir={data_dir!r}, download={download!r}"
        )
    root = pathlib.Path(data_dir).expanduser()
    if not root.is_dir():
        raise ValueError(f"Expected `data_dir` to be a folder. Received: data_dir={data_dir!r}")
    return ImageFolder(IMAGE_FOLDER, root)


def _open_tfds(name: str, data_dir: str | None, download: bool) -> Source:
    if not isinstance(name, str):
        raise TypeError(f"Expected the name of a data set to be a string. Received: {name!r}")
    if download and data_dir is None:
        raise ValueError("Expected `data_dir`, the folder to download into. Received: None")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = [DIGITS, IMAGE_FOLDER, *tfds.list_builders()]
        raise ValueError(
            f"Unknown data set. Expected {DIGITS!r}, {IMAGE_FOLDER!r} or the name of a data set of "
            f"TensorFlow Datasets (https://www.tensorflow.org/datasets/catalog). "
            f"Received: {name!r}, which is not in data_dir={data_dir!r} either."
            f"{suggestion(name, known)}"
        ) from error
    except Exception as error:  # Damaged folders run TFDS into any exception.
        raise ValueError(
            f"Expected a data set that TFDS can build. Received: {name!r} in data_dir="
            f"{data_dir!r}: {first_line(error)}"
        ) from error
    if not builder.is_prepared():
        if not download:
            raise ValueError(
                f"Expected the data set {name!r} to lie prepared in `data_dir`. Received: "
                f"data_dir={data_dir!r}; there is no {builder.data_dir}. Name the folder that "
                "holds it, or ask for download=True."
            )
        try:
            builder.download_and_prepare()
        except (OSError, MemoryError, tf.errors.OpError):
            raise
        except Exception as error:  # A page that has moved, files to be fetched by hand.
            raise ValueError(
                f"Expected a data set that TFDS can prepare. Received: {name!r} in data_dir="
                f"{data_dir!r}: {first_line(error)}"
            ) from error
    return TFDSSource(name, builder)
