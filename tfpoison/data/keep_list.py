"""Which examples of a data set to keep: what an audit leaves, for any `tf.data` pipeline."""

import csv
import dataclasses
import io
import os
import pathlib
from typing import Self

import numpy as np
import tensorflow as tf

_COLUMNS = ["id", "label"]


@dataclasses.dataclass(frozen=True)
class KeepList:
    """The examples to keep, by their position in a split.

    kept = tfpoison.KeepList.load("keep.csv")
    train = kept.apply(tfds.load("cifar10", split="train", as_supervised=True))

    Attributes:
        ids: the positions, ascending integers (n,).
        labels: the labels of these examples, integers (n,); they tell another data set, or another
            order, from the one that was audited.

    Raises:
        ValueError: the positions are not ascending from 0, or the labels do not go with them.
    """

    ids: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        integers = all(
            isinstance(each, np.ndarray) and np.issubdtype(each.dtype, np.integer)
            for each in (self.ids, self.labels)
        )
        if not integers or self.ids.ndim != 1 or self.ids.shape != self.labels.shape:
            raise ValueError(
                "Expected `ids` and `labels` to be arrays of integers of one shape. Received: "
                f"ids={self.ids!r}, labels={self.labels!r}"
            )
        if (np.diff(self.ids) <= 0).any() or (self.ids < 0).any():
            raise ValueError(f"Expected `ids` to ascend from 0. Received: {self.ids}")

    @property
    def size(self) -> int:
        """The number of examples to keep."""
        return len(self.ids)

    def text(self) -> str:
        """Returns the list as CSV: a line for each example, its id and its label."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(zip(self.ids.tolist(), self.labels.tolist(), strict=True))
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a list from a CSV file as `text` makes it.

        Raises:
            ValueError: there is no such file, or it is something else.
        """
        try:
            lines = list(csv.reader(pathlib.Path(path).read_text().splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"Expected a keep-list as a CSV file. {path}: {error}") from error
        if not lines or lines[0] != _COLUMNS:
            raise ValueError(
                f"Expected a keep-list with the columns {','.join(_COLUMNS)}. Received: {path}, "
                f"which starts with {','.join(lines[0]) if lines else 'nothing'!r}"
            )
        numbers = [
            _integers(line, f"line {row} of {path}") for row, line in enumerate(lines[1:], 2)
        ]
        pairs = np.array(numbers, np.int64).reshape(-1, len(_COLUMNS))
        return cls(pairs[:, 0], pairs[:, 1])

    def apply(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the data set without the examples that are not on the list.

        Args:
            dataset: single (image, label, …) in the order of the split that the positions count,
                before any shuffling or batching: as `tfds.load` reads it with
                `shuffle_files=False`. Labels are integers.

        Raises:
            ValueError: the elements are something else, or their labels are not those of the data
                set that was audited (the labels are read once to see).
        """
        spec = dataset.element_spec
        single = isinstance(spec, tuple) and len(spec) >= 2 and getattr(spec[1], "shape", 1) == ()
        if not single or not spec[1].dtype.is_integer:
            raise ValueError(
                "Expected a data set of single (image, integer label), before batching. "
                f"Received elements of {spec}"
            )
        labels = np.array(list(dataset.map(lambda *each: each[1]).as_numpy_iterator()), np.int64)
        if self.size and self.ids[-1] >= len(labels):
            raise ValueError(
                "Expected the whole split that was audited. Received a data set that ends before "
                f"position {self.ids[-1]}, after {len(labels)} examples."
            )
        others = np.flatnonzero(labels[self.ids] != self.labels)
        if others.size:
            raise ValueError(
                "Expected the split that was audited, in its order. Received another label at "
                f"position {self.ids[others[0]]}."
            )
        with tf.init_scope(), tf.device("CPU:0"):
            is_kept = tf.constant(np.isin(np.arange(len(labels)), self.ids))
        kept = dataset.enumerate().filter(lambda number, each: is_kept[number])
        return kept.map(lambda number, each: each)


def _integers(line: list[str], where: str) -> list[np.int64]:
    try:
        numbers = [np.int64(int(cell)) for cell in line]
    except (ValueError, OverflowError):
        numbers = []
    if len(numbers) != len(_COLUMNS):
        raise ValueError(
            "Expected a keep-list of two integers a line, of up to 64 bits. Received: "
            f"{','.join(line)[:80]!r} in {where}"
        )
    return numbers
