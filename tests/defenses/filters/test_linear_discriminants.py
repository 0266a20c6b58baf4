"""Linear discriminants: margins as another implementation has them, and what they show."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from tfpoison.defenses.filters import Evidence, LinearDiscriminants
from tfpoison.defenses.filters.linear_discriminants import components_of, margins_of, scores_of


def make_clouds(dimensions=6, size=200):
    """Three classes of different sizes whose components have different variances."""
    draw = np.random.default_rng(0)
    labels = draw.choice([0, 1, 3], size, p=[0.2, 0.3, 0.5])
    scales = 2.0 ** -np.arange(dimensions)
    return scales * (
        draw.normal(size=(size, dimensions)) + draw.normal(size=(4, 1))[labels]
    ), labels


def margins(vectors, labels, bands, shrinkage):
    return margins_of(vectors, labels, components_of(vectors, labels), bands, shrinkage)


def margins_by_scikit_learn(vectors, labels):
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(vectors, labels)
    probabilities = reference.predict_proba(vectors)
    own = probabilities[np.arange(len(labels)), np.searchsorted(reference.classes_, labels)]
    return np.log(own) - np.log1p(-own)


def test_margins_are_those_of_scikit_learn():
    vectors, labels = make_clouds()
    found = margins(vectors, labels, [(0, 6)], 0)
    np.testing.assert_allclose(found[:, 0], margins_by_scikit_learn(vectors, labels), rtol=1e-6)


def test_a_band_is_a_discriminant_of_its_components():
    vectors, labels = make_clouds()
    means = np.stack([vectors[labels == each].mean(axis=0) for each in range(4) if each != 2])
    residuals = vectors - means[np.searchsorted([0, 1, 3], labels)]
    _, components = np.linalg.eigh(residuals.T @ residuals)
    found = margins(vectors, labels, [(0, 2), (2, 5), (5, 6), (0, 5)], 0)
    for band, chosen in enumerate([[5, 4], [3, 2, 1], [0], [5, 4, 3, 2, 1]]):
        expected = margins_by_scikit_learn(vectors @ components[:, chosen], labels)
        np.testing.assert_allclose(found[:, band], expected, rtol=1e-6)


def test_shrinkage_is_of_the_mean_variance():
    """Of two classes at ±1, variances 1 and 3: m = 2 (x / (1 + 2 s) + y / (3 + 2 s)) label."""
    points = [[1, 3**0.5], [1, -(3**0.5)], [-1, 3**0.5], [-1, -(3**0.5)]]
    vectors = np.concatenate([np.add(points, side) for side in (-1, 1)])
    found = margins(vectors, np.repeat([0, 1], 4), [(0, 2)], 0.5)
    side = np.repeat([-1, 1], 4)
    np.testing.assert_allclose(found[:, 0], side * 2 * (vectors / [2, 4]).sum(axis=1))


def test_one_class_has_no_margins():
    vectors = np.random.default_rng(0).normal(size=(9, 3))
    assert not margins(vectors, np.ones(9), [(0, 3)], 0).any()


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


def test_what_other_labels_carry_more_often_stands_out():
    """A faint wave in 40 images of one class and in 160 of the nine others, under their labels.

    The discriminants alone find 31 of the 40.
    """
    images, labels, draw = make_images(size=4000)
    is_poison = np.flatnonzero(labels == 4)[:40]
    covers = draw.choice(np.flatnonzero(labels != 4), 160, replace=False)
    wave = np.sin(np.linspace(0, 6 * np.pi, 8))[:, np.newaxis, np.newaxis]
    images[[*is_poison, *covers]] += 0.02 * wave.astype(np.float32)
    scores = scores_of(images, labels)
    assert (np.argsort(np.argsort(scores))[is_poison] >= 3600).mean() > 0.95


def test_a_view_without_a_trigger_leaves_it_to_the_others():
    """The faint pattern again, where opaque dots are all over the images of everybody else."""
    images, labels, draw = make_images(size=2000)
    is_poison = np.flatnonzero(labels == 4)[:40]
    images[is_poison] += 0.03 * np.sign(draw.normal(size=(8, 8, 1))).astype(np.float32)
    others = np.setdiff1d(np.arange(2000), is_poison)[::3]
    images[others, *draw.integers(8, size=(2, len(others)))] = 1
    scores = scores_of(images, labels)
    assert (np.argsort(np.argsort(scores))[is_poison] >= 1900).mean() > 0.9


def test_what_is_asked():
    evidence = LinearDiscriminants(side=16).evidence
    assert evidence == Evidence("images", side=16)
    assert evidence.epochs(7) == 0  # No network is trained.
