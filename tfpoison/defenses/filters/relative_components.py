"""Relative principal components: where a class varies as no other does."""

import numpy as np

from tfpoison.defenses.filters.base import members_of_classes

_TINY = 1e-12


def projections_of(vectors: np.ndarray, labels: np.ndarray, shrinkage: float) -> np.ndarray:
    """Returns each example's coordinate on the first relative component of its class, (n,).

        for each class c, with the covariance S_c of its members and S of all others' about the
        means of their classes:
            w ← argmax wᵀ S_c w / wᵀ (S + shrinkage · tr(S) / d) w
            coordinates ← wᵀ (v - mean of c), in the sense in which they are skewed to the right

    A part of a class that has something of its own makes it vary there, however unlike each other
    its members are otherwise. Which part needs not be known, as a discriminant has to know it.
    Source: the first of the components of K. Fukunaga and W. L. G. Koontz, "Application of the
    Karhunen-Loève expansion to feature selection and ordering", IEEE Transactions on Computers
    C-19, 1970; of poisons, by networks' features and with another estimate of S, arXiv 2104.11315.

    Args:
        vectors: floats (n, d).
    """
    size, coordinates = len(labels), np.zeros(len(labels))
    classes = members_of_classes(labels)
    if len(classes) == 1:  # There is nothing to compare it with.
        return coordinates
    residuals = [vectors[members] - vectors[members].mean(axis=0) for members in classes]
    scatters = [(each.T @ each).astype(np.float64) for each in residuals]
    scatter = sum(scatters)
    for members, of_class, own in zip(classes, residuals, scatters, strict=True):
        # What rounding leaves of a difference may be below zero by a little.
        others = (scatter - own) / (size - len(members))
        others.flat[:: len(others) + 1] += shrinkage * np.trace(others) / len(others) + _TINY
        along = of_class @ _most_relative(own / len(members), others)
        coordinates[members] = along * np.copysign(1, (along**3).sum())
    return coordinates


def _most_relative(variable: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the w of the largest wᵀ variable w / wᵀ reference w."""
    # With L Lᵀ = reference and u = Lᵀ w it is the first eigenvector u of L⁻¹ variable L⁻ᵀ.
    root = np.linalg.cholesky(reference)
    whitened = np.linalg.solve(root, np.linalg.solve(root, variable).T)
    return np.linalg.solve(root.T, np.linalg.eigh(whitened)[1][:, -1])
