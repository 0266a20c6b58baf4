"""What a data set by name must know of its labelled images, wherever they lie."""

import abc
import re

import numpy as np
import tensorflow as tf


class Source(abc.ABC):
    """Labelled images on disk, in splits.

    Attributes:
        name: the name that the user gave.
        class_names: the names of the classes.
        train_split: the name of the split to train on.
        validation_split: the name of the split to validate on; None if there is none.
        image_shape: height, width and channels; None where images differ or it is not known.
    """

    name: str
    class_names: tuple[str, ...]
    train_split: str
    validation_split: str | None
    image_shape: tuple[int | None, int | None, int | None]

    @abc.abstractmethod
    def split_size(self, split: str) -> int:
        """Returns the number of examples of a split."""

    @abc.abstractmethod
    def labels(self, split: str) -> np.ndarray:
        """Returns the labels of all examples of a split, int64 (n,).

        Raises:
            ValueError: they cannot be read, or are none of the classes.
        """

    @abc.abstractmethod
    def encoded(self, split: str) -> tf.data.Dataset:
        """Returns (position int64, what `decode` takes, label int64) of all examples of a split."""

    @abc.abstractmethod
    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes an image: uint8, (H, W, C)."""

    @abc.abstractmethod
    def describe_position(self, split: str, position: int) -> str:
        """Returns how a person finds an example."""

    @abc.abstractmethod
    def inspect(self, split: str, positions: np.ndarray) -> None:
        """Looks at examples before they are decoded.

        Raises:
            ValueError: one of them is no image, or would be decoded to something else.
        """

    def file_names(self, split: str) -> list[str] | None:
        """Returns what the files of a split are called; None where images are in none."""
        return None


def first_line(error: Exception) -> str:
    """Returns what TensorFlow says of an error, without where in its graph it occurred."""
    text = str(getattr(error, "message", error)).strip().split("\n")[0]
    return re.sub(r"^(.*}} |.*Iterator::\S+: )+|\.?( \[Op:.*)?$", "", text)
