"""scikit-learn's 1,797 handwritten digits: real images without a download.

Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998: its test set.
"""

import hashlib

import numpy as np
import sklearn.datasets
import sklearn.model_selection

from tfpoison.data.source import ArraySplit, Source

_TEST_EXAMPLES = 517
_BRIGHTEST = 16


def digits() -> Source:
    """Returns 8 × 8 grey images: 1,280 to train on and 517 to test, each class in both."""
    bunch = sklearn.datasets.load_digits()
    images = np.round(bunch.images[..., np.newaxis] * (255 / _BRIGHTEST)).astype(np.uint8)
    parts = sklearn.model_selection.train_test_split(
        np.arange(len(images)),
        test_size=_TEST_EXAMPLES,
        stratify=bunch.target,
        random_state=0,
    )
    splits = []
    for name, part in zip(("train", "test"), parts, strict=True):
        # The order in which TensorFlow Datasets would keep them.
        part = sorted(part, key=lambda each: hashlib.md5(f"{name}{each}".encode()).digest())
        splits.append(ArraySplit(name, images[part], bunch.target[part]))
    return Source(tuple(map(str, bunch.target_names)), *splits)
