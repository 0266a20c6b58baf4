"""CutMix against Keras's own layer and a plain loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from batches_to_mix import sources

from tfpoison.defenses.mixing import CutMix


def cut(count, side=8, **settings):
    """Returns which pixels of each image were pasted, and the labels' weights of other images."""
    images, mixed_images, weights = sources(CutMix(**settings), count, side=side)
    pasted = (mixed_images != images).any(axis=-1)
    return images, mixed_images, weights, pasted


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_cutmix_label_is_the_share_of_pixels(alpha):
    images, mixed_images, weights, pasted = cut(40, alpha=alpha, probability=1.0)
    np.testing.assert_allclose(1 - np.diag(weights), pasted.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    others = np.where(np.eye(40), 0, weights).argmax(axis=1)
    for i in range(40):
        # What is pasted comes from the image that the label names, from the same place, and is a
        # box: all rows that have it have the same, connected columns.
        expected = np.where(pasted[i, ..., None], images[others[i]], images[i])
        np.testing.assert_array_equal(mixed_images[i], expected)
        rows, columns = pasted[i].any(axis=1), pasted[i].any(axis=0)
        np.testing.assert_array_equal(pasted[i], np.outer(rows, columns))
        assert all(
            np.abs(np.diff(each, prepend=0, append=0)).sum() <= 2 for each in (rows, columns)
        )


def test_cutmix_against_keras():
    images, mixed_images, weights, pasted = cut(20, probability=1.0)
    others = np.where(np.eye(20), 0, weights).argmax(axis=1)
    layer = keras.layers.CutMix()
    transformation = {
        "batch_masks": tf.constant(pasted[..., None]),
        "mix_weight": tf.constant(np.diag(weights)),
        "permutation_order": tf.constant(others),
    }
    np.testing.assert_array_equal(
        mixed_images, layer.transform_images(tf.constant(images), transformation)
    )
    np.testing.assert_allclose(
        weights, layer.transform_labels(tf.eye(20), transformation), atol=1e-6
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_cutmix_area_against_numpy(alpha):
    """The mean and the spread of the share pasted, of a plain loop over other draws."""
    draw, shares = np.random.default_rng(0), []
    for weight in draw.beta(alpha, alpha, size=6000):
        length = int(8 * np.sqrt(1 - weight))
        starts = draw.integers(8, size=2) - length // 2
        kept = [min(start + length, 8) - max(start, 0) for start in starts]
        shares.append(kept[0] * kept[1] / 64)
    *_, weights, _ = cut(1500, alpha=alpha, probability=1.0)
    ours = 1 - np.diag(weights)
    np.testing.assert_allclose(ours.mean(), np.mean(shares), atol=0.025)
    np.testing.assert_allclose(ours.std(), np.std(shares), atol=0.025)


def test_cutmix_leaves_half_of_the_images():
    # At α = 50 all boxes have sides of about √½ · 8 = 5.7 pixels; none is empty.
    *_, always = cut(400, alpha=50.0, probability=1.0)
    *_, half = cut(400, alpha=50.0)
    # One image in 400 or so meets itself.
    assert always.any(axis=(1, 2)).mean() > 0.98
    assert 0.4 < half.any(axis=(1, 2)).mean() < 0.6
