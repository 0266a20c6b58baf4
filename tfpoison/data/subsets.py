"""Fixed subsets of a split: the same seed and size, the same examples."""

import math
from collections.abc import Sequence

import numpy as np
import sklearn.model_selection

from tfpoison.data.examples import Examples
from tfpoison.randomness import Purpose


def choose(
    examples: Examples, size: int | None, *, balanced: bool, seed: int, wanted: Sequence[int] = ()
) -> np.ndarray:
    """Chooses examples at random; a smaller subset is part of every larger one of the same seed.

    Args:
        size: how many to choose. None: all, or, if balanced, as many as can be.
        balanced: whether every class is to have the same number, up to one example more.
        wanted: ids of examples that are chosen before all others.

    Returns:
        The positions of the chosen examples, ascending int64, (size,).

    Raises:
        ValueError: there are too few, or too few of a class.
    """
    if size is not None and size > examples.size:
        raise ValueError(
            f"Expected a subset of {examples.size} examples. Received: a size of {size}"
        )
    first = np.flatnonzero(np.isin(examples.ids, wanted))
    order = Purpose.SUBSET.generator(seed).permutation(examples.size)
    order = np.concatenate([first, order[~np.isin(order, first)]])
    if balanced:
        order = _balanced_order(order, examples.labels, size)
    return np.sort(order[:size]).astype(np.int64)


def _balanced_order(order: np.ndarray, labels: np.ndarray, size: int | None) -> np.ndarray:
    """Returns a random order in which the classes take turns, as long as all of them can."""
    classes = np.unique(labels)
    by_class = [order[labels[order] == each] for each in classes]
    rounds = min(len(each) for each in by_class) if size is None else -(-size // len(classes))
    for name, positions in zip(classes, by_class, strict=True):
        if len(positions) < rounds:
            raise ValueError(
                f"Expected {rounds} examples of every class for a balanced subset of {size} of "
                f"{len(labels)} examples. Class {name} has {len(positions)}. Choose a smaller "
                "size, or balanced=False."
            )
    return np.stack([each[:rounds] for each in by_class], axis=1).reshape(-1)


def held_out_size(size: int, share: float) -> int:
    """Returns how many of so many examples are held out: the share, rounded up."""
    return math.ceil(size * share)


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits examples at random, class by class: ascending positions to train on, and held out.

    Raises:
        ValueError: a class has fewer than two examples, or there are too few in all.
    """
    classes, counts = np.unique(labels, return_counts=True)
    held_out = held_out_size(len(labels), share)
    if counts.min() < 2 or min(held_out, len(labels) - held_out) < len(classes):
        raise ValueError(
            "Expected at least two examples of every class, and enough of all of them, to hold "
            f"out {share:.0%} for validation: the data set has no validation split. Received: "
            f"{len(labels)} examples of {len(classes)} classes, the smallest of {counts.min()}"
        )
    train, validation = sklearn.model_selection.train_test_split(
        np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=seed
    )
    return np.sort(train), np.sort(validation)
