"""Data sets of TensorFlow Datasets."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfpoison.checks import suggestion
from tfpoison.data.source import Source, Split
from tfpoison.data.table import names
from tfpoison.failures import first_line

_TRAIN = "train"
_VALIDATION = ("validation", "val", "test")
_PREPARE_AGAIN = "Remove that folder, and have the data set prepared again: download=True."
# Always in the same order, whatever the number of processors.
_READ_CONFIG = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)


class TFDSSplit(Split):
    """A split of a prepared data set."""

    def __init__(self, name: str, builder: tfds.core.DatasetBuilder):
        self.name = name
        self.size = builder.info.splits[name].num_examples
        self._builder = builder
        self._image, self._label = builder.info.supervised_keys
        self.image_shape = tuple(builder.info.features[self._image].shape)

    def labels(self) -> np.ndarray:
        labels = self._read(lambda image, label: label)
        try:
            found = np.concatenate([[], *labels.batch(4096).as_numpy_iterator()]).astype(np.int64)
        except (tf.errors.OpError, OSError) as error:
            raise ValueError(
                f"Expected a data set that can be read. Received: {self._builder.data_dir}, split "
                f"{self.name!r}: {first_line(error)}. {_PREPARE_AGAIN}"
            ) from error
        classes = self._builder.info.features[self._label].num_classes
        strange = np.flatnonzero((found < 0) | (found >= classes))
        if strange.size:
            raise ValueError(
                f"Expected labels from 0 to {classes - 1}. Received: {found[strange[0]]} of "
                f"{self.describe(int(strange[0]))} of {self._builder.name!r} (TFDS writes -1 where "
                "the label is not known)."
            )
        return found

    def encoded(self) -> tf.data.Dataset:
        return self._read(lambda image, label: image)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        return self._builder.info.features[self._image].decode_example(encoded)

    def _read(self, part: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
        examples = self._builder.as_dataset(
            split=self.name,
            as_supervised=True,
            shuffle_files=False,
            decoders={self._image: tfds.decode.SkipDecoding()},
            read_config=_READ_CONFIG,
        )
        return examples.map(part)


def tfds_source(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a data set of TensorFlow Datasets.

    Raises:
        ValueError: it is not there, is none for image classification, or has nothing to train on.
    """
    if download and data_dir is None:
        raise ValueError("Expected `data_dir`, the folder to download into. Received: None")
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        if not download:
            raise ValueError(
                f"Expected the data set {name!r} to lie prepared in `data_dir`. Received: "
                f"data_dir={data_dir!r}; there is no {builder.data_dir}. Name the folder that "
                "holds it, or ask for download=True."
            )
        _prepare(builder, name, data_dir)
    _check_is_classification(builder.info, name)
    splits = [each for each in (_TRAIN, *_VALIDATION) if _has(builder.info, each)][:2]
    label = builder.info.features[builder.info.supervised_keys[1]]
    return Source(tuple(label.names), *(TFDSSplit(each, builder) for each in splits))


def _builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    remedy = f" A folder of images is loaded by 'image_folder', with data_dir={name!r}."
    remedy = remedy if os.path.isdir(name) else ""
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = ", ".join(map(repr, names()))
        remedy = remedy or suggestion(name, [*names(), *tfds.list_builders()])
        raise ValueError(
            f"Unknown data set. Expected {known} or the name of a data set of TensorFlow Datasets "
            f"(https://www.tensorflow.org/datasets/catalog). Received: {name!r}, which is not in "
            f"data_dir={data_dir!r} either.{remedy}"
        ) from error
    except Exception as error:  # Damaged folders run TFDS into any exception.
        raise _cannot("build", name, data_dir, error, remedy) from error


def _prepare(builder: tfds.core.DatasetBuilder, name: str, data_dir: str | None) -> None:
    try:
        builder.download_and_prepare()
    except (OSError, MemoryError, tf.errors.OpError):
        raise
    except Exception as error:  # A page that has moved, files to be fetched by hand.
        raise _cannot("prepare", name, data_dir, error) from error


def _cannot(
    do: str, name: str, data_dir: str | None, error: Exception, remedy: str = ""
) -> ValueError:
    return ValueError(
        f"Expected a data set that TFDS can {do}. Received: {name!r} in data_dir={data_dir!r}: "
        f"{first_line(error)}{remedy and '.'}{remedy}"
    )


def _check_is_classification(info: tfds.core.DatasetInfo, name: str) -> None:
    """Raises ValueError unless there are images with labels, and some to train on."""
    keys: Any = info.supervised_keys
    features = dict(info.features.items())
    is_pair = isinstance(keys, tuple) and len(keys) == 2
    image, label = [features.get(each) for each in keys] if is_pair else (None, None)
    is_image = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
    if not (is_image and isinstance(label, tfds.features.ClassLabel) and label.names):
        found = [f"{name} ({type(each).__name__})" for name, each in sorted(features.items())]
        raise ValueError(
            "Expected a data set for image classification: a supervised pair of an 8-bit Image and "
            f"a ClassLabel. Received: {name!r} with supervised_keys={keys}. Its features: "
            f"{', '.join(found)}"
        )
    if not _has(info, _TRAIN):
        raise ValueError(
            f"Expected a data set with a split {_TRAIN!r} that is not empty. Received: "
            f"{name!r} with the splits {', '.join(info.splits) or 'none'}"
        )


def _has(info: tfds.core.DatasetInfo, split: str) -> bool:
    return split in info.splits and info.splits[split].num_examples > 0
