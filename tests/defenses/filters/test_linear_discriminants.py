"""Linear discriminants: margins as another implementation has them, and what they show."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tfpoison.defenses.filters import Evidence, LinearDiscriminants, linear_discriminants
from tfpoison.defenses.filters.linear_discriminants import (
    margins_of,
    scores_of,
    standardized,
)


def make_clouds(dimensions=6, size=200):
    """Three classes of different sizes whose components have different variances."""
    draw = np.random.default_rng(0)
    labels = draw.choice([0, 1, 3], size, p=[0.2, 0.3, 0.5])
    scales = 2.0 ** -np.arange(dimensions)
    return scales * (
        draw.normal(size=(size, dimensions)) + draw.normal(size=(4, 1))[labels]
    ), labels


def margins_by_scikit_learn(vectors, labels):
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(vectors, labels)
    probabilities = reference.predict_proba(vectors)
    own = probabilities[np.arange(len(labels)), np.searchsorted(reference.classes_, labels)]
    return np.log(own) - np.log1p(-own)


def test_margins_are_those_of_scikit_learn():
    vectors, labels = make_clouds()
    margins = margins_of(vectors, labels, [0, 6], 0)
    np.testing.assert_allclose(margins[:, 0], margins_by_scikit_learn(vectors, labels), rtol=1e-6)


def test_a_band_is_a_discriminant_of_its_components():
    vectors, labels = make_clouds()
    means = np.stack([vectors[labels == each].mean(axis=0) for each in range(4) if each != 2])
    residuals = vectors - means[np.searchsorted([0, 1, 3], labels)]
    _, components = np.linalg.eigh(residuals.T @ residuals)
    margins = margins_of(vectors, labels, [0, 2, 5, 6], 0)
    for band, chosen in enumerate([[5, 4], [3, 2, 1], [0]]):
        expected = margins_by_scikit_learn(vectors @ components[:, chosen], labels)
        np.testing.assert_allclose(margins[:, band], expected, rtol=1e-6)


def test_shrinkage_is_of_the_mean_variance():
    """Of two classes at ±1, variances 1 and 3: m = 2 (x / (1 + 2 s) + y / (3 + 2 s)) label."""
    points = [[1, 3**0.5], [1, -(3**0.5)], [-1, 3**0.5], [-1, -(3**0.5)]]
    vectors = np.concatenate([np.add(points, side) for side in (-1, 1)])
    margins = margins_of(vectors, np.repeat([0, 1], 4), [0, 2], 0.5)
    side = np.repeat([-1, 1], 4)
    np.testing.assert_allclose(margins[:, 0], side * 2 * (vectors / [2, 4]).sum(axis=1))


def test_one_class_has_no_margins():
    assert not margins_of(np.random.default_rng(0).normal(size=(9, 3)), np.ones(9), [0, 3], 0).any()


def test_classes_and_views_compare():
    """By quantiles of each class, which larger margins of up to half of it do not move much."""
    margins = np.arange(21.0)[:, np.newaxis] * [1, 5]
    margins = np.concatenate([margins, 100 + 3 * margins])
    found = standardized(margins, np.repeat([0, 1], 21))
    one = (np.arange(21) - 5) / 3
    np.testing.assert_allclose(found, np.tile((one / one[18])[:, np.newaxis], (2, 2)), rtol=1e-6)


def make_images(seed=0, size=600):
    """Ten classes of waves that are brighter or darker, with little noise, and a faint pattern."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(10, size=size)
    grid = np.linspace(0, np.pi, 8)
    waves = np.stack(
        [np.cos(k * grid)[:, None] * np.cos(j * grid) for k in range(3) for j in range(3)]
    )
    images = 0.5 + 0.1 * np.tensordot(draw.normal(size=(size, 9)), waves, 1)
    images += 0.02 * labels[:, np.newaxis, np.newaxis] + 0.02 * draw.normal(size=images.shape)
    return images[..., np.newaxis].astype(np.float32), labels, draw


@pytest.mark.parametrize("kind", ["faint", "opaque"])
def test_triggers_stand_out(kind):
    """A pattern of one and a half of the noise's deviations, or a dot, in a fifth of one class."""
    images, labels, draw = make_images()
    is_poison = np.flatnonzero(labels == 4)[:12]
    if kind == "faint":
        images[is_poison] += 0.03 * np.sign(draw.normal(size=(8, 8, 1))).astype(np.float32)
    else:
        images[is_poison, 2, 3] = 1
    suspicion = LinearDiscriminants(share=0.05).inspect(images, labels)
    assert suspicion.suspects.sum() == 30 and suspicion.suspects[is_poison].sum() >= 11


def test_what_is_blurred_stands_out():
    """Half of an image is taken from between its pixels, as by a warp, in a fifth of one class."""
    draw = np.random.default_rng(0)
    labels = draw.integers(4, size=800)
    images = (0.5 + 0.2 * draw.normal(size=(800, 8, 8, 1))).astype(np.float32)
    is_poison = np.flatnonzero(labels == 2)[:40]
    left = images[is_poison, :, :5]
    images[is_poison, :, :4] = (left[:, :, :4] + left[:, :, 1:]) / 2
    suspicion = LinearDiscriminants().inspect(images, labels)
    assert suspicion.suspects[is_poison].mean() > 0.8


@pytest.mark.parametrize(
    ("size", "dimensions"), [(4 * 4 * 48, [48, 16]), (4 * 4 * 48 - 1, [16]), (4 * 63, [])]
)
def test_textures_are_asked_where_classes_are_large(size, dimensions, monkeypatch):
    """Four members for each number: 4×4 places in 3 directions and one channel."""
    asked = []

    def project(vectors, labels, shrinkage):
        asked.append(vectors.shape[1])
        return np.zeros(len(labels))

    monkeypatch.setattr(linear_discriminants, "projections_of", project)
    images = np.random.default_rng(0).random((size, 8, 8, 1))
    scores_of(images, np.arange(size) % 4)
    assert asked == dimensions


@pytest.mark.parametrize("channel", [0, 1])
def test_a_cast_of_color_stands_out(channel):
    draw = np.random.default_rng(0)
    labels = draw.integers(4, size=800)
    images = 0.5 + 0.1 * draw.normal(size=(800, 8, 8, 1))
    images = np.repeat(images, 2, axis=3) + 0.01 * draw.normal(size=(800, 8, 8, 2))
    is_poison = np.flatnonzero(labels == 1)[:40]
    images[is_poison, ..., channel] *= 1.3
    suspicion = LinearDiscriminants().inspect(images.astype(np.float32), labels)
    assert suspicion.suspects[is_poison].mean() > 0.8


def test_a_round_is_without_the_suspects_of_the_one_before():
    images, labels, _ = make_images(size=300)
    suspicion = LinearDiscriminants(share=0.2, rounds=2).inspect(images, labels)
    scores = scores_of(images, labels)
    left = np.argsort(np.argsort(scores)) < 270
    fresh = scores_of(images[left], labels[left])
    assert (fresh > scores[left]).any()
    scores[left] = np.maximum(scores[left], fresh)
    np.testing.assert_array_equal(suspicion.scores, scores)
    np.testing.assert_array_equal(suspicion.suspects, scores >= np.sort(scores)[-60])


def test_what_is_asked():
    evidence = LinearDiscriminants(side=16).evidence
    assert evidence == Evidence("images", side=16)
    assert evidence.epochs(7) == 0  # No network is trained.
