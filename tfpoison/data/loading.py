"""How the images of a selection are chosen and read."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfpoison.data import subsets
from tfpoison.data.examples import Examples, InMemoryExamples, StreamedExamples
from tfpoison.data.image_classification import Description, ImageClassification
from tfpoison.data.keep_list import KeepList
from tfpoison.data.selection import Selection
from tfpoison.data.source import Split
from tfpoison.failures import first_line

# Of a data set without a validation split this share is held out.
VALIDATION_SHARE = 0.2
# A split whose decoded images are larger is streamed from disk.
MEMORY_LIMIT_BYTES = 2 * 2**30


def describe(selection: Selection) -> Description:
    """Returns what is known of a selection before reading it; ValueError where it cannot be."""
    train, validation = selection.source.train, selection.source.validation
    if selection.keep_list is not None:
        KeepList.load(selection.keep_list).check(train.size, train.file_names())
    if validation is None:
        held_out = subsets.held_out_size(train.size, VALIDATION_SHARE)
        left = train.size if selection.whole_split else train.size - held_out
        to_train, to_validate = (train.name, left), ("held-out", held_out)
    else:
        to_train, to_validate = (train.name, train.size), (validation.name, validation.size)
    return Description(
        selection.dataset,
        selection.source.class_names,
        _image_shape(selection),
        _size(selection, "train_size", *to_train),
        _size(selection, "validation_size", *to_validate),
        train.size,
        (validation or train).size,
    )


def _size(selection: Selection, name: str, split: str, available: int) -> int:
    wanted = getattr(selection, name)
    if wanted is not None and wanted > available:
        raise ValueError(
            f"Expected `{name}` to be at most {available}, the number of examples of the {split} "
            f"split of {selection.dataset!r}. Received: {name}={wanted}"
        )
    return available if wanted is None else wanted


def _image_shape(selection: Selection) -> tuple[int, int, int] | None:
    """Returns the shape that all images will have; None where only the images can tell."""
    height, width, channels = selection.source.train.image_shape
    if selection.image_size is not None:
        height, width = selection.image_size
    if height is None or width is None or channels is None:
        return None
    return height, width, channels


def read(selection: Selection) -> ImageClassification:
    """Chooses the images and reads them; raises what `tfpoison.data.load` raises."""
    describe(selection)
    train, validation = selection.source.train, selection.source.validation
    labels = train.labels()
    if validation is None:
        ids, held_out = _hold_out(selection, labels)
        available = [(train, ids, labels), (train, held_out, labels)]
    else:
        available = [
            (split, np.arange(split.size), of_split)
            for split, of_split in [(train, labels), (validation, validation.labels())]
        ]
    shape = _image_shape(selection) or _first_image_shape(train)
    resize = selection.image_size is not None
    to_train, to_validate = (
        StreamedExamples(split, ids, labels[ids], shape, resize) for split, ids, labels in available
    )
    return ImageClassification(
        selection.dataset,
        selection.source.class_names,
        selection.kept(_read(selection, to_train, selection.train_size, selection.train_ids)),
        to_validate
        if selection.whole_split
        else _read(selection, to_validate, selection.validation_size, selection.validation_ids),
    )


def _hold_out(selection: Selection, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions to train on, and those to validate on."""
    if not selection.whole_split:
        return subsets.hold_out(labels, VALIDATION_SHARE, selection.subset_seed)
    everything = np.arange(len(labels))
    try:
        return everything, subsets.hold_out(labels, VALIDATION_SHARE, selection.subset_seed)[1]
    except ValueError:  # Too few to hold any out are enough for those who validate nothing.
        return everything, everything[:0]


def _read(
    selection: Selection, available: StreamedExamples, size: int | None, wanted: Sequence[int]
) -> Examples:
    """Reads a subset of what is available, with the ids that are wanted."""
    examples = available.select(selection.choose(available, size, wanted))
    examples.split.inspect(examples.ids)
    streamed = examples.size * math.prod(examples.image_shape) > MEMORY_LIMIT_BYTES
    if streamed and _image_shape(selection) is None:
        raise ValueError(
            f"Expected `image_size`: the images of {selection.dataset!r} may differ in size, and "
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
