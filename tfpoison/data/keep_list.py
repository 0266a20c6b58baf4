"""Which examples of a data set to keep: what an audit leaves, for jobs and `tf.data` pipelines."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfpoison import csv_files
from tfpoison.checks import check_array
from tfpoison.data import order
from tfpoison.data.examples import Examples

_COLUMNS = ("id", "file", "label", "split_size")
_NEEDED = ("id", "label")


@dataclasses.dataclass(frozen=True)
class KeepList:
    """The examples to keep, by their position in a split, and by their file where they have one.

        kept = tfpoison.KeepList.load("keep.csv")
        train = kept.apply(tfds.load("cifar10", split="train", as_supervised=True))
        train = kept.apply(keras.utils.image_dataset_from_directory("photos", shuffle=False))

    Attributes:
        ids: the positions, ascending integers from 0, (n,).
        labels: their labels, integers (n,): they tell another data set, or another order, from the
            one that was audited.
        files: their files, CLASS/FILE, n of them; None where they are not in files of their own.
        split_size: the number of examples of the whole split; None where it is not known.

    Raises:
        TypeError: ids or labels are no arrays.
        ValueError: the ids are none of a split, or the others do not go with them.
    """

    ids: np.ndarray
    labels: np.ndarray
    files: Sequence[str] | None = None
    split_size: int | None = None

    def __post_init__(self) -> None:
        last = np.inf if self.split_size is None else self.split_size - 1
        check_array("ids", self.ids, np.integer, (None,), minimum=0, maximum=last, ascending=True)
        check_array("labels", self.labels, np.integer, (self.size,))
        if self.files is not None and not self.size == len(self.files) == len(set(self.files)):
            raise ValueError(
                f"Expected `files` to name each of {self.size} files once. Received: "
                f"{len(self.files)} names, {len(set(self.files))} of them different"
            )

    @property
    def size(self) -> int:
        """The number of examples to keep."""
        return len(self.ids)

    def text(self) -> str:
        """Returns the list as CSV: a line for each example, with all that is known of it."""
        size = None if self.split_size is None else [self.split_size] * self.size
        columns = dict(zip(_COLUMNS, (self.ids, self.files, self.labels, size), strict=True))
        known = {name: column for name, column in columns.items() if column is not None}
        return csv_files.text([list(known), *zip(*known.values(), strict=True)])

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Reads a list from a CSV file as `text` makes it, also where a spreadsheet has saved it.

        Raises:
            ValueError: there is no such file, or it is something else.
        """
        lines = csv_files.read(path, "a keep-list")
        names = lines[0] if lines else []
        if names != [each for each in _COLUMNS if each in names or each in _NEEDED]:
            raise ValueError(
                f"Expected a keep-list with the columns {','.join(_COLUMNS)}, of which those of "
                f"id and label must be there. Received: {path}, which starts with "
                f"{','.join(names)[:80] or 'nothing'!r}"
            )
        for row, line in enumerate(lines[1:], 2):
            if len(line) != len(names):
                raise ValueError(
                    f"Expected a keep-list of {len(names)} cells a line. Received: "
                    f"{','.join(line)[:80]!r} in line {row} of {path}"
                )
        cells = dict(zip(names, zip(*lines[1:], strict=True), strict=False))
        try:
            numbers = {
                name: np.array([int(cell) for cell in cells.get(name, ())], np.int64)
                for name in ("id", "label", "split_size")
            }
            size, *others = np.unique(numbers["split_size"]).tolist() or [None]
            if others:
                raise ValueError(f"the split_size is {size} as well as {others[0]}")
            files = list(cells.get("file", ())) if "file" in names else None
            return cls(numbers["id"], numbers["label"], files, size)
        except (ValueError, OverflowError) as error:
            raise ValueError(
                "Expected a keep-list of an audit, with an integer in each line under id, label "
                f"and split_size. Received: {path}, {error}"
            ) from error

    def check(self, split_size: int, files: Sequence[str] | None) -> None:
        """Raises ValueError where the list cannot be of a split of that size, with these files."""
        if self.split_size not in (None, split_size) or (self.ids >= split_size).any():
            raise ValueError(
                f"Expected a keep-list of {split_size} examples, as the data set has. Received one "
                f"of {self.split_size or f'{self.ids[-1] + 1} or more'}. Give the whole split that "
                "was audited, or audit it as it is now."
            )
        if files is not None and self.files is not None:
            others = [n for n, name in zip(self.ids, self.files, strict=True) if files[n] != name]
            if others:
                name = self.files[np.searchsorted(self.ids, others[0])]
                raise ValueError(
                    f"Expected a keep-list of the files of the data set. Received one with {name!r}"
                    f" for {files[others[0]]!r}. Audit the data as they are now."
                )

    def select(self, examples: Examples) -> Examples:
        """Returns the examples of a split, or of a part of it, that are on the list.

        Raises:
            ValueError: their labels are not those of the data set that was audited, or a class has
                none left.
        """
        places = np.searchsorted(self.ids, examples.ids)
        kept = np.flatnonzero(np.append(self.ids, -1)[places] == examples.ids)
        _check_labels(examples.ids[kept], examples.labels[kept], self.labels[places[kept]])
        empty = np.setdiff1d(examples.labels, examples.labels[kept])
        if len(empty):
            raise ValueError(
                "Expected a keep-list that leaves examples of every class. Received one that "
                f"leaves none of class {empty[0]} among {examples.size} examples."
            )
        return examples.select(kept)

    def apply(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the data set without the examples that are not on the list; its length is known.

        Args:
            dataset: (image, label, …) or dictionaries with a "label", single ones or in batches,
                not shuffled: as `tfds.load` reads the whole split with `shuffle_files=False`, or
                `image_dataset_from_directory` with `shuffle=False` any part of the folder. Labels
                are integers, or one-hot. Where the pipeline starts from the paths of files, their
                names decide, and labels may be missing.

        Raises:
            TypeError: it is no `tf.data.Dataset`.
            ValueError: the elements are something else, their order cannot be known, or their
                labels or files are not those that were audited (it is read once to see).
        """
        order.check(dataset)
        batched, labels, size, batch_size = _read_labels(dataset)
        names = None if self.files is None else order.file_names(dataset, size)
        if names is not None:
            is_kept = self._by_file(names, labels)
        elif labels is not None:
            self.check(len(labels), None)
            is_kept = self._by_position(order.elements(dataset, self.ids), labels)
        else:
            raise ValueError(_EXPECTED_ELEMENTS.format(dataset.element_spec))
        with tf.init_scope(), tf.device("CPU:0"):
            table = tf.constant(is_kept)
        single = dataset.unbatch() if batched else dataset
        kept = single.enumerate().filter(lambda number, each: table[number])
        kept = kept.map(lambda number, each: each)
        kept = kept.apply(tf.data.experimental.assert_cardinality(int(is_kept.sum())))
        return kept.batch(batch_size) if batched else kept

    def _by_position(self, elements: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Returns which elements are kept, bool (n,), given the numbers of those on the list."""
        if (elements >= len(labels)).any():
            raise ValueError(
                "Expected the whole split that was audited. Received a data set of "
                f"{len(labels)} examples, a part of it."
            )
        _check_labels(self.ids, labels[elements], self.labels)
        is_kept = np.zeros(len(labels), bool)
        is_kept[elements] = True
        return is_kept

    def _by_file(self, names: list[str], labels: np.ndarray | None) -> np.ndarray:
        """Returns which elements are kept, bool (n,), of those that were read from these files."""
        assert self.files is not None
        label_of = dict(zip(self.files, self.labels.tolist(), strict=True))
        is_kept = np.array([name in label_of for name in names])
        unknown = [name for name in names if name not in label_of]
        left_out = len(unknown) if self.split_size is None else self.split_size - self.size
        if len(unknown) > left_out or (self.size and not is_kept.any()):
            raise ValueError(
                f"Expected files that were audited, of which the keep-list leaves out {left_out}. "
                f"Received {len(names)}, of which {len(unknown)} are not on it, such as "
                f"{unknown[0]!r}, where it has {self.files[0]!r}. Audit the data as they are now."
            )
        if labels is not None:
            # The data set may number the classes otherwise.
            pairs = {
                (label_of[name], label)
                for name, label in zip(names, labels.tolist(), strict=True)
                if name in label_of
            }
            if len(pairs) > len({ours for ours, _ in pairs}):
                raise ValueError(
                    "Expected one label for the files of each class. Received several: elements in "
                    "another order than the files that the data set starts from."
                )
        return is_kept


_EXPECTED_ELEMENTS = (
    "Expected a data set of (image, integer or one-hot label), single before batching or in "
    "batches. Received elements of {}"
)


def _read_labels(dataset: tf.data.Dataset) -> tuple[bool, np.ndarray | None, int, int]:
    """Returns whether there are batches, the labels, integers (n,), n, and the first batch's size.

    The labels are None for images alone.
    """
    spec = dataset.element_spec
    image, label = _image_and_label(spec)
    rank = getattr(getattr(image, "shape", None), "rank", None)
    label_rank = getattr(getattr(label, "shape", None), "rank", None)
    batched = rank == 4 or (rank != 3 and label_rank not in (0, None))
    one_hot = label_rank == 1 + int(batched)
    known = label_rank == int(batched) and label.dtype.is_integer
    if (label is None and rank not in (3, 4)) or not (label is None or one_hot or known):
        raise ValueError(_EXPECTED_ELEMENTS.format(spec))

    def read(*arguments: Any) -> tf.Tensor:
        image, label = _image_and_label(arguments[0] if len(arguments) == 1 else arguments)
        # In place of labels that are not there zeros are counted.
        return tf.zeros(tf.shape(image)[: int(batched)], tf.int64) if label is None else label

    parts = []
    for array in dataset.map(read).as_numpy_iterator():
        array = np.asarray(array) if batched else np.asarray(array)[np.newaxis]
        if one_hot:
            array = array.argmax(axis=1) if array.shape[1] > 1 else array[:, 0].round()
        parts.append(array.astype(np.int64))
    labels = np.concatenate([np.zeros(0, np.int64), *parts])
    batch_size = len(parts[0]) if parts else 1
    return batched, None if label is None else labels, len(labels), batch_size


def _image_and_label(element: Any) -> tuple[Any, Any]:
    if isinstance(element, dict):
        return element.get("image"), element.get("label")
    if isinstance(element, tuple):
        return element[0], element[1] if len(element) > 1 else None
    return element, None


def _check_labels(ids: np.ndarray, received: np.ndarray, expected: np.ndarray) -> None:
    others = np.flatnonzero(received != expected)
    if len(others):
        raise ValueError(
            "Expected the split that was audited, in its order. Received another label at "
            f"position {ids[others[0]]}. Is the keep-list one of other data?"
        )
