"""Activation clustering against cases worked by hand."""

import numpy as np
import pytest

from tfpoison.defenses.filters import ActivationClustering
from tfpoison.defenses.filters.activation_clustering import cluster, reduce


def test_clusters_by_hand():
    # Centres at 0 and 10: the score is (distance to 0 less distance to 10) / 10.
    points = np.array([[-1.0], [0.0], [1.0], [9.0], [11.0]])
    scores, in_smaller = cluster(points, seed=0)
    np.testing.assert_allclose(scores, [-1, -1, -0.8, 0.8, 1], atol=1e-12)
    assert in_smaller.tolist() == [False, False, False, True, True]


def test_activation_clustering_spares_classes_that_split_in_half():
    points = np.concatenate([np.full((5, 1), 0.0), np.full((4, 1), 1.0)])
    features = points + 0.01 * np.random.default_rng(0).normal(size=(9, 1))
    labels = np.zeros(9, int)
    assert ActivationClustering().inspect(features, labels).suspects.sum() == 4
    spared = ActivationClustering(largest_share=0.4).inspect(features, labels)
    assert not spared.suspects.any()
    assert (spared.scores[5:] > 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_components_of_sparse_features(seed):
    """Features after a ReLU: some of them nought for all examples, fewer examples than features."""
    draw = np.random.default_rng(seed)
    features = np.maximum(draw.normal(size=(draw.integers(2, 20), 16)), 0)
    features[:, draw.random(16) < 0.6] = 0
    reduced = reduce(features, 10, seed=0)
    assert np.isfinite(reduced).all()
    np.testing.assert_allclose(reduced.std(axis=0), 1, rtol=1e-6)


def test_no_more_components_than_there_can_be():
    features = np.random.default_rng(0).normal(size=(6, 2))
    assert reduce(features, 10, seed=0).shape == (6, 2)
    doubled = np.concatenate([features, features, np.ones((6, 1))], axis=1)
    assert reduce(doubled, 10, seed=0).shape == (6, 2)
    assert reduce(np.ones((6, 3)), 10, seed=0) is None
