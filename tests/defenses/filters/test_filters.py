"""What every filter keeps."""

import numpy as np
import pytest

from tfpoison.defenses import filters
from tfpoison.defenses.filters import DeepKNN
from tfpoison.defenses.filters.base import batches


def make_poisoned(seed=0, size=60, poisons=12, dimensions=8):
    """Two classes as clouds; some examples of the second sit together and somewhere else."""
    draw = np.random.default_rng(seed)
    centers = 3 * draw.normal(size=(3, dimensions))
    labels = np.repeat([0, 1], size)
    features = centers[labels] + 0.5 * draw.normal(size=(2 * size, dimensions))
    is_poison = np.arange(2 * size) >= 2 * size - poisons
    features[is_poison] += 3 * (centers[0] - centers[1]) + centers[2]
    return features.astype(np.float32), labels, is_poison


def as_asked(name, features):
    """Features in the shape of what a filter asks for."""
    is_of_images = filters.get(name).evidence.answers == "images"
    if not is_of_images or getattr(features, "ndim", None) != 2:
        return features
    return features.reshape(len(features), 1, features.shape[1], 1)


@pytest.mark.parametrize("name", filters.names())
class TestEveryFilter:
    def test_finds_poisons_that_sit_together(self, name):
        features, labels, is_poison = make_poisoned()
        chosen = filters.get(name)
        if chosen.evidence.answers != "features":
            chosen = filters.get(name, share=0.1)
        if chosen.evidence.answers == "images":  # Poisons differ in a pixel, and nothing else.
            features[:, -1] = 0.01 * features[:, -1] + is_poison
            features[:, :-1] = 0
        elif chosen.evidence.answers != "features":
            features = np.where(is_poison[:, np.newaxis], 0, 1 + np.abs(features))
        if chosen.evidence.answers == "margins":  # Before any repair all are alike.
            features[:, 0] = 5
        suspicion = chosen.inspect(as_asked(name, features), labels, seed=3)
        poisoned_class = labels == 1
        found = suspicion.suspects[is_poison].mean()
        assert found >= 0.75 if name == "spectral_signatures" else found == 1
        scores = suspicion.scores[poisoned_class]
        assert scores[is_poison[poisoned_class]].min() > scores[~is_poison[poisoned_class]].max()

    def test_same_seed_same_bits(self, name):
        features, labels, _ = make_poisoned(1)
        features = as_asked(name, features)
        one, other = (filters.get(name).inspect(features, labels, seed=5) for _ in range(2))
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.suspects, other.suspects)

    def test_shapes_types_and_arguments_left_alone(self, name):
        features, labels, _ = make_poisoned(2)
        features = as_asked(name, features)
        copies = features.copy(), labels.copy()
        suspicion = filters.get(name).inspect(features, labels)
        assert suspicion.scores.dtype == np.float64 and suspicion.scores.shape == labels.shape
        assert suspicion.suspects.dtype == bool and suspicion.suspects.shape == labels.shape
        np.testing.assert_array_equal(features, copies[0])
        np.testing.assert_array_equal(labels, copies[1])

    def test_order_of_the_examples_does_not_matter(self, name):
        features, labels, _ = make_poisoned()
        features = as_asked(name, features)
        order = np.random.default_rng(0).permutation(len(labels))
        straight = filters.get(name).inspect(features, labels).suspects
        shuffled = filters.get(name).inspect(features[order], labels[order]).suspects
        # How a cloud without poisons is divided in two is anyone's choice.
        poisoned = labels[order] == 1
        np.testing.assert_array_equal(shuffled[poisoned], straight[order][poisoned])

    @pytest.mark.parametrize("value", [0.0, 1e6])
    def test_equal_examples(self, name, value):
        features, labels = np.full((12, 3), value, np.float32), np.repeat([0, 1, 2], 4)
        suspicion = filters.get(name).inspect(as_asked(name, features), labels)
        assert np.isfinite(suspicion.scores).all()

    def test_classes_of_one_example(self, name):
        # Of a repair's images there must be some.
        size = 5 if filters.get(name).evidence.repair is None else 12
        features = np.random.default_rng(0).normal(size=(size, 3))
        suspicion = filters.get(name).inspect(as_asked(name, features), np.arange(size))
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
            filters.get(name).inspect(as_asked(name, features), labels)

    @pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
    def test_bad_seed(self, name, seed):
        features, labels, _ = make_poisoned()
        with pytest.raises((TypeError, ValueError), match="`seed`"):
            filters.get(name).inspect(as_asked(name, features), labels, seed=seed)


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
        ("deep_knn", {"typical": 0.0}),
        ("isolation", {"share": 0.0}),
        ("isolation", {"networks": 0}),
        ("isolation", {"gamma": 0}),
        ("margin_drop", {"share": 0.51}),
        ("margin_drop", {"repairs": 0}),
        ("margin_drop", {"images": 9}),
        ("margin_drop", {"repair": "universl"}),
        ("linear_discriminants", {"share": 0.51}),
        ("linear_discriminants", {"side": 65}),
        ("activation_clustering", {"components": 0}),
        ("activation_clustering", {"largest_share": 0}),
        ("activation_clustering", {"largest_share": 0.6}),
    ],
)
def test_bad_settings(name, settings):
    with pytest.raises((TypeError, ValueError), match=f"`{next(iter(settings))}`"):
        filters.get(name, **settings)


@pytest.mark.parametrize("name", filters.names())
def test_what_cannot_be_inspected_is_known_before(name):
    if name == "margin_drop":
        filters.get(name).check(10)
        with pytest.raises(ValueError, match=r"at least 10 examples to repair .* Received: 9"):
            filters.get(name).check(9)
    else:
        filters.get(name).check(2)
    if name == "deep_knn":
        with pytest.raises(ValueError, match="3 with 3 examples"):
            DeepKNN(neighbors=3).check(3)


def test_batches_hold_everything_once():
    positions = np.arange(2500)
    np.testing.assert_array_equal(
        np.concatenate([positions[each] for each in batches(2500)]), positions
    )
    assert [len(positions[each]) for each in batches(2500)] == [1000, 1000, 500]
