"""Relative principal components: as SciPy's generalized eigenvectors, and what they show."""

import numpy as np
import pytest
import scipy.linalg

from tfpoison.defenses.filters.relative_components import projections_of


def make_clouds(size=600, dimensions=5):
    """Three classes whose means and components differ, and a tenth of one that is elsewhere."""
    draw = np.random.default_rng(0)
    labels = draw.choice([0, 1, 3], size, p=[0.3, 0.3, 0.4])
    vectors = 3.0 ** -np.arange(dimensions) * draw.normal(size=(size, dimensions))
    vectors += draw.normal(size=(4, dimensions))[labels]
    hidden = np.flatnonzero(labels == 1)[:18]
    vectors[hidden, -1] -= 0.3
    return vectors, labels, hidden


@pytest.mark.parametrize("shrinkage", [0, 0.1])
def test_projections_are_on_generalized_eigenvectors(shrinkage):
    vectors, labels, _ = make_clouds()
    found = projections_of(vectors, labels, shrinkage)
    residuals = np.concatenate(
        [vectors[labels == c] - vectors[labels == c].mean(0) for c in (0, 1, 3)]
    )
    of_class = np.repeat([0, 1, 3], np.unique(labels, return_counts=True)[1])
    for c in (0, 1, 3):
        own, others = residuals[of_class == c], residuals[of_class != c]
        reference = others.T @ others / len(others)
        reference += shrinkage * np.trace(reference) / 5 * np.eye(5)
        direction = scipy.linalg.eigh(own.T @ own / len(own), reference)[1][:, -1]
        expected = own @ direction
        expected *= np.sign((expected**3).sum())
        np.testing.assert_allclose(found[labels == c], expected, rtol=1e-6, atol=1e-9)


def test_a_hidden_part_stands_out():
    """However small the component is, and to whichever side it lies."""
    vectors, labels, hidden = make_clouds()
    found = projections_of(vectors, labels, 0)
    members = np.flatnonzero(labels == 1)
    largest = members[np.argsort(found[members])[-len(hidden) :]]
    assert set(largest) == set(hidden)


def test_one_class_has_nothing_to_be_compared_with():
    assert not projections_of(np.random.default_rng(0).normal(size=(9, 3)), np.ones(9), 0.1).any()


def test_what_never_varies_is_no_component():
    """A dead pixel, and classes of a single member."""
    vectors, labels, _ = make_clouds()
    vectors[:, 2] = 0.5
    labels[np.flatnonzero(labels == 0)[1:]] = 3
    found = projections_of(vectors.astype(np.float32), labels, 0.01)
    assert np.isfinite(found).all() and found[labels == 0] == 0
