"""Where labelled images come from: what a data set by name tells of them."""

import abc
import dataclasses

import numpy as np
import tensorflow as tf


class Split(abc.ABC):
    """Labelled images in an order that stays, wherever they lie.

    Attributes:
        name: what the split is called.
        size: the number of its images.
        image_shape: height, width and channels; None where images differ or it is not known.
    """

    name: str
    size: int
    image_shape: tuple[int | None, int | None, int | None] = (None, None, None)

    @abc.abstractmethod
    def labels(self) -> np.ndarray:
        """Returns the labels of all images, integers from 0, int64 (size,).

        Raises:
            ValueError: they cannot be read, or are none of the classes.
        """

    @abc.abstractmethod
    def encoded(self) -> tf.data.Dataset:
        """Returns what `decode` takes, of all images in their order."""

    @abc.abstractmethod
    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Returns an image: uint8 in 0–255, (H, W, C)."""

    def describe(self, position: int) -> str:
        """Returns how a person finds the image at a position."""
        return f"example {position} of the split {self.name!r}"

    def file_names(self) -> list[str] | None:
        """Returns what the images' files are called, CLASS/FILE; None where they are in none."""
        return None

    def inspect(self, positions: np.ndarray) -> None:  # noqa: B027
        """Raises ValueError where an image is none, or would be decoded to something else."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set of labelled images, of which none is read yet.

    Attributes:
        class_names: the names of the classes.
        train: the images to train on.
        validation: those to validate on; None to hold some of the others out.
    """

    class_names: tuple[str, ...]
    train: Split
    validation: Split | None = None


class ArraySplit(Split):
    """Labelled images in an array.

    Args:
        name: what the split is called.
        images: uint8 in 0–255, (n, H, W, C).
        labels: integers from 0, (n,).
    """

    def __init__(self, name: str, images: np.ndarray, labels: np.ndarray):
        self.name = name
        self.size = len(images)
        self.image_shape = images.shape[1:]
        self._images = images
        self._labels = labels

    def labels(self) -> np.ndarray:
        """Returns a copy of the labels."""
        return self._labels.astype(np.int64)

    def encoded(self) -> tf.data.Dataset:
        """Returns the images."""
        return tf.data.Dataset.from_tensor_slices(self._images)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Returns an image as it is."""
        return encoded
