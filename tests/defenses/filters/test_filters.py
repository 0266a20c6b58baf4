"""The filters against cases worked by hand and plain second implementations."""

import numpy as np
import pytest

from tfpoison.defenses import filters
from tfpoison.defenses.filters import ActivationClustering, DeepKNN, SpectralSignatures
from tfpoison.defenses.filters.activation_clustering import cluster, reduce
from tfpoison.defenses.filters.spectral_signatures import outlier_scores


def make_poisoned(seed=0, size=60, poisons=12, dimensions=8):
    """Two classes as clouds; some examples of the second sit together and somewhere else."""
    draw = np.random.default_rng(seed)
    centers = 3 * draw.normal(size=(3, dimensions))
    labels = np.repeat([0, 1], size)
    features = centers[labels] + 0.5 * draw.normal(size=(2 * size, dimensions))
    is_poison = np.arange(2 * size) >= 2 * size - poisons
    features[is_poison] += 3 * (centers[0] - centers[1]) + centers[2]
    return features.astype(np.float32), labels, is_poison


@pytest.mark.parametrize("name", filters.names())
class TestEveryFilter:
    def test_finds_poisons_that_sit_together(self, name):
        features, labels, is_poison = make_poisoned()
        suspicion = filters.get(name).inspect(features, labels, seed=3)
        poisoned_class = labels == 1
        found = suspicion.suspects[is_poison].mean()
        assert found >= 0.75 if name == "spectral_signatures" else found == 1
        scores = suspicion.scores[poisoned_class]
        assert scores[is_poison[poisoned_class]].min() > scores[~is_poison[poisoned_class]].max()

    def test_same_seed_same_bits(self, name):
        features, labels, _ = make_poisoned(1)
        one, other = (filters.get(name).inspect(features, labels, seed=5) for _ in range(2))
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.suspects, other.suspects)

    def test_shapes_types_and_arguments_left_alone(self, name):
        features, labels, _ = make_poisoned(2)
        copies = features.copy(), labels.copy()
        suspicion = filters.get(name).inspect(features, labels)
        assert suspicion.scores.dtype == np.float64 and suspicion.scores.shape == labels.shape
        assert suspicion.suspects.dtype == bool and suspicion.suspects.shape == labels.shape
        np.testing.assert_array_equal(features, copies[0])
        np.testing.assert_array_equal(labels, copies[1])

    def test_order_of_the_examples_does_not_matter(self, name):
        features, labels, _ = make_poisoned()
        order = np.random.default_rng(0).permutation(len(labels))
        straight = filters.get(name).inspect(features, labels).suspects
        shuffled = filters.get(name).inspect(features[order], labels[order]).suspects
        # How a cloud without poisons is divided in two is anyone's choice.
        poisoned = labels[order] == 1
        np.testing.assert_array_equal(shuffled[poisoned], straight[order][poisoned])

    @pytest.mark.parametrize("value", [0.0, 1e6])
    def test_equal_examples(self, name, value):
        features, labels = np.full((12, 3), value, np.float32), np.repeat([0, 1, 2], 4)
        suspicion = filters.get(name).inspect(features, labels)
        assert np.isfinite(suspicion.scores).all()

    def test_classes_of_one_example(self, name):
        features = np.random.default_rng(0).normal(size=(5, 3))
        suspicion = filters.get(name).inspect(features, np.arange(5))
        assert np.isfinite(suspicion.scores).all()

    @pytest.mark.parametrize(
        ("features", "labels", "error", "message"),
        [
            ([[1.0]], np.zeros(1, int), TypeError, "`features` to be a numpy array"),
            (np.ones((2, 2)), [0, 1], TypeError, "`labels` to be a numpy array"),
            (np.ones(3), np.zeros(3, int), ValueError, "floats of shape"),
            (np.ones((3, 2), int), np.zeros(3, int), ValueError, "floats of shape"),
            (np.ones((0, 2)), np.zeros(0, int), ValueError, "floats of shape"),
            (np.full((3, 2), np.nan), np.zeros(3, int), ValueError, "to be finite"),
            (np.ones((3, 2)), np.zeros(2, int), ValueError, "integers of shape"),
            (np.ones((3, 2)), np.zeros(3), ValueError, "integers of shape"),
        ],
    )
    def test_bad_arguments(self, name, features, labels, error, message):
        with pytest.raises(error, match=message):
            filters.get(name).inspect(features, labels)

    @pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
    def test_bad_seed(self, name, seed):
        features, labels, _ = make_poisoned()
        with pytest.raises((TypeError, ValueError), match="`seed`"):
            filters.get(name).inspect(features, labels, seed=seed)


def test_unknown_filter():
    with pytest.raises(ValueError, match="spectral_signatures"):
        filters.get("spectral_signature")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("spectral_signatures", {"share": -0.1}),
        ("spectral_signatures", {"share": 1}),
        ("spectral_signatures", {"share": "0.1"}),
        ("deep_knn", {"neighbors": 0}),
        ("deep_knn", {"neighbors": 2.5}),
        ("activation_clustering", {"components": 0}),
        ("activation_clustering", {"largest_share": 0}),
        ("activation_clustering", {"largest_share": 0.6}),
    ],
)
def test_bad_settings(name, settings):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(settings))}`"):
        filters.get(name, **settings)


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


def test_deep_knn_by_hand():
    # Points on a line; the two nearest of each, the labels of these, and whether one is its own.
    features = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])
    labels = np.array([0, 0, 1, 1, 1, 1])
    suspicion = DeepKNN(neighbors=2).inspect(features, labels)
    # 0: (1, 2) → 0, 1: a tie with its own label. 1: (0, 2) → 0, 1: a tie. 2: (1, 0) → 0, 0.
    assert suspicion.scores.tolist() == [0.5, 0.5, 1, 0, 0, 0]
    assert suspicion.suspects.tolist() == [False, False, True, False, False, False]


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


@pytest.mark.parametrize("name", filters.names())
def test_what_cannot_be_inspected_is_known_before(name):
    filters.get(name).check(2)
    if name == "deep_knn":
        with pytest.raises(ValueError, match="3 with 3 examples"):
            DeepKNN(neighbors=3).check(3)


def test_deep_knn_with_too_few_examples():
    with pytest.raises(ValueError, match="fewer `neighbors` than examples"):
        DeepKNN(neighbors=3).inspect(np.ones((3, 1)), np.zeros(3, int))


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
