"""Spectral signatures against a case worked by hand and singular values."""

import numpy as np
import pytest

from tfpoison.defenses.filters import SpectralSignatures
from tfpoison.defenses.filters.spectral_signatures import outlier_scores


def test_spectral_signatures_by_hand():
    # Around their mean (0, 0) the points lie at ±3 on the first axis and ±1 on the second: squared
    # projections on the first are 9, 9, 0, 0, and their mean 4.5.
    features = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]]) + np.array([5.0, 7.0])
    np.testing.assert_allclose(outlier_scores(features), [2, 2, 0, 0], atol=1e-12)
    suspicion = SpectralSignatures(share=0.25).inspect(features, np.zeros(4, int))
    assert suspicion.suspects.sum() == 1 and suspicion.suspects[:2].any()


@pytest.mark.parametrize(("seed", "examples"), [(0, 30), (1, 30), (2, 8), (3, 5), (4, 2)])
def test_spectral_signatures_against_singular_values(seed, examples):
    features = np.random.default_rng(seed).normal(size=(examples, 7)) * np.arange(1, 8)
    centered = features - features.mean(axis=0)
    expected = (centered @ np.linalg.svd(centered)[2][0]) ** 2
    np.testing.assert_allclose(outlier_scores(features), expected / expected.mean(), rtol=1e-9)


def test_spectral_signatures_takes_its_share_of_every_class():
    labels = np.repeat([0, 1], [100, 40])
    features = np.random.default_rng(0).normal(size=(140, 4))
    suspects = SpectralSignatures(share=0.29).inspect(features, labels).suspects
    assert np.bincount(labels[suspects]).tolist() == [29, 11]
