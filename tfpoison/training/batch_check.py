"""Batches are looked at before they are trained on, in every epoch and whatever serves them.

A pixel that is no number makes all weights NaN in one step; pixels of another scale leave crafting
without effect. Compiled with XLA, a training step cannot refuse either. So the data check
themselves while they are served, beside the step, which gets no slower by it.
"""

import contextlib
import functools
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison.pixel_range import PixelRange
from tfpoison.training.batches import labels_alone

# Interpolating augmentations may overshoot the pixel range by this share of it.
TOLERATED_OVERSHOOT = 0.1
ADVICE = (
    "Say in which range your pixels live: RobustModel(..., pixel_range=(low, high)), for instance "
    "(0, 255), or per channel after normalisation."
)

Check = Callable[[np.ndarray, np.ndarray], None]
"""Looks at images and labels, and raises ValueError where they cannot be trained on."""

# TensorFlow hands on what Python raised within a data set as a text with the stack behind it.
_RAISED_WHILE_SERVED = re.compile(
    r"ValueError: (Expected (?:pixels|labels) .*?)\n+Traceback", re.DOTALL
)


def check_pixels(images: np.ndarray, pixels: PixelRange | None) -> None:
    """Raises ValueError where a pixel is no number, or lies outside the range, if there is one.

    Images are (n, height, width, channels), a batch or a whole data set in memory.
    """
    if not images.size:
        return
    each_channel = tuple(range(images.ndim - 1)) if pixels and pixels.channels else None
    # The extremes are NaN where a single pixel is, of which NumPy need not warn.
    with np.errstate(invalid="ignore"):
        extremes = images.min(each_channel), images.max(each_channel)
    if all(_fit(each, pixels).all() for each in extremes):
        return
    fit = _fit(images, pixels).reshape(len(images), -1).all(axis=1)
    first = images[np.argmin(fit)].astype(np.float64)
    seen = (
        f"{np.sum(~fit)} of {len(images)} images that do not fit, the first one at position "
        f"{np.argmin(fit)}, its pixels from {first.min():.6g} to {first.max():.6g}"
    )
    if pixels is None or not np.isfinite(first).all():
        raise ValueError(
            f"Expected pixels that are numbers, neither NaN nor infinite. Received: {seen}. Leave "
            "such images out, or mend the preprocessing that makes them."
        )
    raise ValueError(
        "Expected pixels within the pixel range. Received: "
        f"pixel_range={pixels.get_config()}, {seen}. {ADVICE}"
    )


def _fit(values: np.ndarray, pixels: PixelRange | None) -> np.ndarray:
    if pixels is None:
        return np.isfinite(values)
    tolerated = TOLERATED_OVERSHOOT * (pixels.high - pixels.low)
    return (values >= pixels.low - tolerated) & (values <= pixels.high + tolerated)


def checked(x: Any, y: Any, check: Check) -> Any:
    """Returns the data given to `fit` such that they check themselves.

    Arrays are checked at once. A data set, a `keras.utils.PyDataset` or a generator is wrapped: it
    checks each batch as it is served. Whatever else Keras takes comes back as it is.

    Raises:
        ValueError: arrays do not pass the check.
    """
    if isinstance(x, tf.data.Dataset):
        return x.map(functools.partial(_check_in_graph, check))
    if isinstance(x, keras.utils.PyDataset):
        return _CheckedDataset(x, check)
    if isinstance(x, types.GeneratorType):
        return (_check_batch(batch, check) for batch in x)
    return x if y is None else _check_batch((x, y), check)[0]


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raises as ValueError what a check has found, without TensorFlow's stack around it."""
    try:
        yield
    except tf.errors.OpError as error:
        found = _RAISED_WHILE_SERVED.search(error.message)
        if found is None:
            raise
        raise ValueError(found.group(1)) from None


@tf.autograph.experimental.do_not_convert
def _check_in_graph(check: Check, *batch: Any) -> Any:
    if not _is_pair(batch):
        return batch if len(batch) > 1 else batch[0]  # The training step refuses it.

    def look(images: np.ndarray, labels: np.ndarray) -> np.bool_:
        check(images, labels)
        return np.True_

    pair = [batch[0], labels_alone(batch[1])]
    with tf.control_dependencies([tf.numpy_function(look, pair, tf.bool)]):
        return (tf.identity(batch[0]), *batch[1:])


def _check_batch(batch: Any, check: Check) -> Any:
    if isinstance(batch, tuple | list) and _is_pair(batch):
        pair = batch[0], labels_alone(batch[1])
        check(*(keras.ops.convert_to_numpy(each) for each in pair))
    return batch


def _is_pair(batch: Any) -> bool:
    if len(batch) < 2:
        return False
    return all(hasattr(each, "shape") for each in (batch[0], labels_alone(batch[1])))


class _CheckedDataset(keras.utils.PyDataset):
    """A `PyDataset` whose batches are checked, wherever Keras's workers fetch them."""

    def __init__(self, batches: keras.utils.PyDataset, check: Check):
        super().__init__(batches.workers, batches.use_multiprocessing, batches.max_queue_size)
        self._batches = batches
        self._check = check

    def __getitem__(self, index: int) -> Any:
        return _check_batch(self._batches[index], self._check)

    @property
    def num_batches(self) -> int | None:
        return self._batches.num_batches

    def on_epoch_begin(self) -> None:
        self._batches.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._batches.on_epoch_end()
