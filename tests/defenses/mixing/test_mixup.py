"""Mixup against Keras's own layer and the Dirichlet distribution."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from batches_to_mix import sources

from tfpoison.defenses.mixing import Mixup


@pytest.mark.parametrize("ways", [2, 3, 4])
def test_mixup_mixes_what_the_labels_say(ways):
    images, mixed_images, weights = sources(Mixup(ways=ways), 20)
    np.testing.assert_allclose(mixed_images, np.tensordot(weights, images, 1), atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    parts = (weights > 0).sum(axis=1)
    assert parts.max() == ways
    assert (parts == ways).mean() > 0.5
    # Every image mixes itself; and in random orders all are mixed in alike.
    assert (np.diag(weights) > 0).all()
    # Weights are drawn for each image: if not, whole columns of 20 would be equal.
    assert len(np.unique(np.diag(weights).round(5))) > 15


def test_two_ways_against_keras():
    images, mixed_images, weights = sources(Mixup(), 20)
    others = np.where(np.eye(20), 0, weights).argmax(axis=1)
    own = np.diag(weights)
    others = np.where(own > 1 - 1e-6, np.arange(20), others)
    transformation = {"mix_weight": tf.constant(own), "permutation_order": tf.constant(others)}
    layer = keras.layers.MixUp()
    np.testing.assert_allclose(
        mixed_images, layer.transform_images(tf.constant(images), transformation), atol=1e-6
    )
    np.testing.assert_allclose(
        weights, layer.transform_labels(tf.eye(20), transformation), atol=1e-6
    )
    assert sorted(others) == list(range(20))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("ways", [2, 4])
def test_weights_are_dirichlet(alpha, ways):
    """Each weight of a symmetric Dirichlet distribution is Beta(α, (ways - 1) α)."""
    _, _, weights = sources(Mixup(alpha=alpha, ways=ways), 1500, side=1)
    parts = (weights > 0).sum(axis=1)
    rows = weights[parts == ways] if alpha >= 1 else weights
    marginal = scipy.stats.beta(alpha, (ways - 1) * alpha).cdf
    own = np.diag(weights)[parts == ways] if alpha >= 1 else np.diag(weights)
    assert scipy.stats.kstest(own, marginal).pvalue > 1e-3
    # All weights of a row together, by their second moment E Σ w² = (α + 1) / (ways α + 1); the
    # few images that met themselves are within the tolerance.
    expected = (alpha + 1) / (ways * alpha + 1)
    np.testing.assert_allclose(np.square(rows).sum(axis=1).mean(), expected, atol=0.02)


def test_small_alpha_is_one_image():
    """Gamma draws of so small an α are 0 in single precision, and 0 / 0 is no weight."""
    _, _, weights = sources(Mixup(alpha=1e-3, ways=4), 200, side=1)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights.max(axis=1) > 0.999).mean() > 0.95
    # The one image is the image's own in one of four.
    assert 0.15 < (np.diag(weights) > 0.5).mean() < 0.35
