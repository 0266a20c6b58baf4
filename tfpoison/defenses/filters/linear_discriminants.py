"""Linear discriminants: what a linear classifier is too sure of is left out."""

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np

from tfpoison.defenses.filters.base import (
    Evidence,
    Filter,
    Suspicion,
    batches,
    largest,
)
from tfpoison.defenses.filters.false_discoveries import rates_of
from tfpoison.defenses.filters.local_contrasts import contrasts_of, textures_of
from tfpoison.defenses.filters.relative_components import projections_of
from tfpoison.settings import setting

# Principal components by falling variance, in bands of four times as many. The first ones, of
# brightness and coarse shapes, tell classes apart without any trigger.
_EDGES = (8, 32, 128, 512, 2048)
# Of these, by relative components: the larger ones would take most of the time.
_RELATIVE = 3
# Of the mean variance, added to that of each component. Contrasts have few large ones and many
# that hardly vary: they need more.
_SHRINKAGE, _SHRINKAGE_OF_CONTRASTS, _SHRINKAGE_OF_TEXTURES = 1e-6, 0.1, 0.01
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class LinearDiscriminants(Filter):
    """What a linear classifier is too sure of (this library's own; no paper).

        margins ← of each band of the images' principal components, of each two neighboring bands,
                and of the images' local contrasts:
            log p - log(1 - p) of each label by linear discriminant analysis
        coordinates ← of the first three bands, and of their textures by direction and by channel:
            that of each on the first relative component of its class
        rates ← of each of both: the false discovery rate among those of its class that have as much
        score ← Σ log² rates
        suspects ← the ⌊share · n⌋ examples of the largest scores

    Where natural images vary little, no class differs from another, but where somebody has put a
    trigger: a pattern that many images of a label share is plain to see once the covariance is
    divided by, however faint it is. So a network is not needed, let alone a trained one. Bands keep
    what is natural, in the components of large variance, from covering what is not. The local
    contrast of a pixel is the squared Laplacian, the same for light and dark edges: it shows what
    is opaque. A warp adds nothing, but blurs here more and there less: part of a class then has
    textures that vary as no other class's do, which no discriminant shows, since images of another
    class are as much too unlike their label as the warp is like it; a cast of colour likewise.
    What nobody touched lies on both sides of the middle of its class alike, so each view tells by
    itself how much it is to be trusted: one that shows no trigger leaves it to the others.

    Images are held as float32: 12 kB for each of 32×32 in colour.
    """

    share: float = setting(0.1, "The share of all examples that is removed.", above=0, maximum=0.5)
    side: int = setting(
        32,
        "Pixels of a side that larger images are averaged to; time goes with its sixth power.",
        minimum=2,
        maximum=64,
    )

    @property
    def evidence(self) -> Evidence:
        return Evidence("images", side=self.side)

    def _inspect(self, features: np.ndarray, labels: np.ndarray, seed: int) -> Suspicion:
        scores = scores_of(features, labels)
        return Suspicion(scores, largest(scores, self.share))


def scores_of(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how suspicious some view finds each, float64 (n,): the larger, the more."""
    size = images[0].size
    edges = [*([edge for edge in _EDGES if edge < size] or [0]), size]
    single = [*itertools.pairwise(edges)]
    bands = [*single, *zip(edges, edges[2:], strict=False)]
    vectors = images.reshape(len(labels), -1)
    components = components_of(vectors, labels)
    pixels = margins_of(vectors, labels, components, bands, _SHRINKAGE)
    coordinates = [
        projections_of(project(vectors, components.axes[:, first:end]), labels, _SHRINKAGE)
        for first, end in single[:_RELATIVE]
    ]
    contrasts = contrasts_of(images).reshape(len(labels), -1)
    whole = [(0, contrasts.shape[1])]
    of_contrasts = components_of(contrasts, labels)
    opaque = margins_of(contrasts, labels, of_contrasts, whole, _SHRINKAGE_OF_CONTRASTS)
    coordinates += [
        projections_of(textures.reshape(len(labels), -1), labels, _SHRINKAGE_OF_TEXTURES)
        for textures in textures_of(images)
    ]
    views = np.concatenate([pixels, opaque, np.stack(coordinates, axis=1)], axis=1)
    rates = rates_of(views, labels)
    return (np.log(rates) ** 2).sum(axis=1)


class Components(NamedTuple):
    """Principal components of vectors about the means of their classes, by falling variance."""

    means: np.ndarray
    """Of the classes, by rising label, (classes, d)."""
    variances: np.ndarray
    """(d,)."""
    axes: np.ndarray
    """One in each column, (d, d)."""


def components_of(vectors: np.ndarray, labels: np.ndarray) -> Components:
    """Returns the principal components of floats (n, d)."""
    classes, labels = np.unique(labels, return_inverse=True)
    means = np.stack([vectors[labels == each].mean(axis=0) for each in range(len(classes))])
    covariance = np.zeros((vectors.shape[1], vectors.shape[1]))
    for some in batches(len(labels)):
        residuals = vectors[some] - means[labels[some]]
        covariance += residuals.T @ residuals
    variances, axes = np.linalg.eigh(covariance / len(labels))
    return Components(means, variances[::-1].clip(0), axes[:, ::-1].astype(vectors.dtype))


def project(vectors: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Returns the coordinates of floats (n, d) on axes (d, k), (n, k)."""
    return np.concatenate([vectors[some] @ axes for some in batches(len(vectors))])


def margins_of(
    vectors: np.ndarray,
    labels: np.ndarray,
    components: Components,
    bands: list[tuple[int, int]],
    shrinkage: float,
) -> np.ndarray:
    """Returns the margin of each label by linear discriminant analysis in each band, (n, bands).

    Args:
        vectors: floats (n, d).
        bands: of the components, the first of each and the end.
        shrinkage: of the mean variance, added to that of each component.
    """
    classes, labels = np.unique(labels, return_inverse=True)
    margins = np.zeros((len(labels), len(bands)))
    if len(classes) == 1:  # There is nothing to tell it from.
        return margins
    shares = np.bincount(labels) / len(labels)
    variances = components.variances + shrinkage * components.variances.mean() + _TINY
    origin = shares.astype(vectors.dtype) @ components.means
    centers = (components.means - origin) @ components.axes
    for some in batches(len(labels)):
        points = (vectors[some] - origin) @ components.axes
        for band, (first, end) in enumerate(bands):
            weights = centers[:, first:end] / variances[first:end]
            offsets = (weights * centers[:, first:end]).sum(axis=1) / 2
            logits = points[:, first:end] @ weights.T - offsets + np.log(shares)
            margins[some, band] = _log_odds(logits, labels[some])
    return margins


def _log_odds(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    own = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)[:, 0]
    others = logits.astype(np.float64)
    np.put_along_axis(others, labels[:, np.newaxis], -np.inf, axis=1)
    return own - np.logaddexp.reduce(others, axis=1)
