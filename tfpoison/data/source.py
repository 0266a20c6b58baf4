"""Where labelled images come from: what a data set by name tells of them."""

import abc
import dataclasses

import numpy as np
import tensorflow as tf


class Split(abc.ABC):
    """Labelled images in an order that stays, wherever they lie.

    Attributes:
        size: the number of its images.
        image_shape: height, width and channels; None where images differ or it is not known.
    """

    name: str
    size: int
    image_shape: tuple[int | None, int | None, int | None] = (None, None, None)

    @abc.abstractmethod
    def labels(self) -> np.ndarray:
        """Returns all labels, integers from 0, int64 (size,); ValueError where there are others."""

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
    """A data set of labelled images, none read yet; without `validation` some are held out."""

    class_names: tuple[str, ...]
    train: Split
    validation: Split | None = None


class ArraySplit(Split):
    """Labelled images in an array, uint8 in 0–255, (n, H, W, C), with integers from 0, (n,)."""

    def __init__(self, name: str, images: np.ndarray, labels: np.ndarray):
        self.name = name
        self.size = len(images)
        self.image_shape = images.shape[1:]
        self._images = images
        self._labels = labels

    def labels(self) -> np.ndarray:
        return self._labels.astype(np.int64)

    def encoded(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(self._images)

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        return encoded
