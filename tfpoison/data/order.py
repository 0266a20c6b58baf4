"""Which examples of a split the elements of a `tf.data` pipeline are."""

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfpoison.files import printable


def check(dataset: tf.data.Dataset) -> None:
    """Raises TypeError or ValueError where the order of the elements cannot be known."""
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(f"Expected a `tf.data.Dataset`. Received: {type(dataset)}")
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("Expected a data set before `repeat`. Received one without an end.")
    shuffled = any("Shuffle" in type(each).__name__ for each in _lineage(dataset))
    if shuffled or dataset.options().deterministic is False:
        raise ValueError(
            "Expected a data set in an order that can be known. Received one that is shuffled. "
            "Shuffle what comes out: read it with shuffle=False (image_dataset_from_directory, "
            "list_files) or shuffle_files=False (tfds.load), and without `shuffle`."
        )


def file_names(dataset: tf.data.Dataset, size: int) -> list[str] | None:
    """Returns the file that each of so many examples was read from, CLASS/FILE.

    They are known where the pipeline starts from the files' paths, as that of Keras's
    `image_dataset_from_directory` does, or `Dataset.list_files`.
    """
    for each in _lineage(dataset):
        specs = tf.nest.flatten(each.element_spec)
        texts = [place for place, spec in enumerate(specs) if spec == tf.TensorSpec((), tf.string)]
        if each._inputs() or len(texts) != 1 or each.cardinality() != size:
            continue
        place = texts[0]
        only_texts = each.map(lambda *parts: tf.nest.flatten(parts)[place])  # noqa: B023
        paths = [printable(os.fsdecode(path)) for path in only_texts.as_numpy_iterator()]
        folder = os.path.commonpath({os.path.dirname(os.path.dirname(path)) for path in paths})
        return [os.path.relpath(path, folder) for path in paths]
    return None


def elements(dataset: tf.data.Dataset, ids: np.ndarray) -> np.ndarray:
    """Returns the numbers of the elements that stand at positions of a whole split, int64 (n,).

    TFDS reads the shards of a split in turns; positions count shard after shard. Those behind the
    end of shards get a number behind all elements.
    """
    positions = _positions(dataset)
    if positions is None:
        return ids
    numbers = np.full(max(len(positions), ids.max(initial=-1) + 1), len(positions))
    numbers[positions] = np.arange(len(positions))
    return numbers[ids]


def _positions(dataset: tf.data.Dataset) -> np.ndarray | None:
    """Returns where in the split each element stands, int64 (n,); None where all are in order."""
    for each in _lineage(dataset):
        inputs = each._inputs()
        fields = getattr(inputs[0].element_spec, "_fields", ()) if inputs else ()
        if not hasattr(each, "_cycle_length") or not {"filename", "take"} <= set(fields):
            continue
        shards = list(inputs[0].as_numpy_iterator())
        lengths = np.array([shard.take for shard in shards], np.int64)
        order = np.argsort([shard.filename for shard in shards])
        ends = np.empty(len(shards), np.int64)
        ends[order] = np.cumsum(lengths[order])
        in_turns = tf.data.Dataset.from_tensor_slices((ends - lengths, ends)).interleave(
            lambda start, end: tf.data.Dataset.range(start, end),
            cycle_length=each._cycle_length,
            block_length=each._block_length,
        )
        return np.concatenate([[], *in_turns.batch(2**16).as_numpy_iterator()]).astype(np.int64)
    return None


def _lineage(dataset: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    """Yields a data set and all that it was made from."""
    yield dataset
    for each in dataset._inputs():
        yield from _lineage(each)
