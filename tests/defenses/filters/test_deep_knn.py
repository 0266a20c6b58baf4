"""Deep k-NN against a case worked by hand and a plain search."""

import numpy as np
import pytest
from test_filters import make_poisoned

from tfpoison.defenses.filters import DeepKNN


def test_deep_knn_by_hand():
    # Points on a line; the two nearest of each, the labels of these, and whether one is its own.
    features = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])
    labels = np.array([0, 0, 1, 1, 1, 1])
    suspicion = DeepKNN(neighbors=2).inspect(features, labels)
    # 0: (1, 2) → 0, 1: a tie with its own label. 1: (0, 2) → 0, 1: a tie. 2: (1, 0) → 0, 0.
    assert suspicion.scores.tolist() == [0.5, 0.5, 1, 0, 0, 0]
    assert suspicion.suspects.tolist() == [False, False, True, False, False, False]


def test_what_is_most_like_its_class_is_suspect_the_other_way_round():
    features = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])
    labels = np.array([0, 0, 1, 1, 1, 1])
    suspicion = DeepKNN(neighbors=2, typical=0.4).inspect(features, labels)
    assert suspicion.scores.tolist() == [0.5, 0.5, 0, 1, 1, 1]
    # Of three alike the first two.
    assert suspicion.suspects.tolist() == [False, False, False, True, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_deep_knn_against_plain_search(seed):
    draw = np.random.default_rng(seed)
    features, labels = draw.normal(size=(50, 3)), draw.integers(4, size=50)
    distances = np.linalg.norm(features[:, None] - features, axis=2)
    np.fill_diagonal(distances, np.inf)
    suspicion = DeepKNN(neighbors=7).inspect(features, labels)
    for each in range(50):
        votes = np.bincount(labels[distances[each].argsort()[:7]], minlength=4)
        assert suspicion.scores[each] == pytest.approx(1 - votes[labels[each]] / 7)
        assert suspicion.suspects[each] == (votes[labels[each]] < votes.max())


def test_deep_knn_takes_the_size_of_a_class_for_k():
    features, labels, _ = make_poisoned()
    own, given = DeepKNN(), DeepKNN(neighbors=60)
    np.testing.assert_array_equal(
        own.inspect(features, labels).scores, given.inspect(features, labels).scores
    )


def test_deep_knn_with_too_few_examples():
    with pytest.raises(ValueError, match="fewer `neighbors` than examples"):
        DeepKNN(neighbors=3).inspect(np.ones((3, 1)), np.zeros(3, int))
