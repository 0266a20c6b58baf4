"""scikit-learn's 1,797 handwritten digits as a TFDS data set: real images without a download.

Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998: the test set of it, which scikit-learn carries in its package.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import sklearn.datasets
import sklearn.model_selection
import tensorflow_datasets as tfds

TEST_EXAMPLES = 517
_BRIGHTEST = 16


class Digits(tfds.core.GeneratorBasedBuilder):
    """8 × 8 grey images, uint8 in 0–255; 1,280 to train on and 517 to test, each class in both."""

    VERSION = tfds.core.Version("1.0.0")

    # Nothing is downloaded. (TFDS would look for checksums, with a package it does not require.)
    url_infos = None

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        digits = sklearn.datasets.load_digits()
        train, test = sklearn.model_selection.train_test_split(
            np.arange(len(digits.target)),
            test_size=TEST_EXAMPLES,
            stratify=digits.target,
            random_state=0,
        )
        return {
            "train": self._generate_examples(digits, train),
            "test": self._generate_examples(digits, test),
        }

    def _generate_examples(self, digits: Any, ids: np.ndarray) -> Iterator[tuple[int, dict]]:
        images = np.round(digits.images * (255 / _BRIGHTEST)).astype(np.uint8)
        for each in ids:
            yield (
                int(each),
                {"image": images[each, :, :, np.newaxis], "label": int(digits.target[each])},
            )
