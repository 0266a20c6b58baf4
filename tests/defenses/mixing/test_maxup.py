"""MaxUp against losses worked out by NumPy."""

import keras
import numpy as np
import pytest
from batches_to_mix import KEY, make_batch, make_classifier, mixed

from tfpoison.defenses.mixing import Cutout, MaxUp
from tfpoison.randomness import split_key


@pytest.mark.parametrize("sparse", [False, True])
def test_maxup_takes_the_largest_loss(sparse):
    images, labels = make_batch(40)
    if sparse:
        labels = labels.argmax(axis=1)
        classifier = make_classifier(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    else:
        classifier = make_classifier()
    result, same = MaxUp(copies=5, size=3, fill_value=0.9).mix(classifier, images, labels, KEY)
    np.testing.assert_array_equal(same, labels)
    keys = split_key(KEY)
    copies = [
        mixed(Cutout(size=3, fill_value=0.9), images, labels, next(keys))[0] for _ in range(5)
    ]
    # The cross-entropy of the linear network, in NumPy.
    weights, bias = classifier.network.get_weights()
    classes = labels if sparse else labels.argmax(axis=1)
    losses = np.empty((5, 40))
    for number, copy in enumerate(copies):
        logits = (copy.reshape(40, -1) @ weights + bias).astype("float64")
        losses[number] = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(40), classes]
    worst = losses.argmax(axis=0)
    np.testing.assert_array_equal(result, np.stack(copies)[worst, np.arange(40)])
    # It chooses for each image, among all copies, and these differ.
    assert set(worst) == set(range(5))
    assert np.abs(np.diff(np.sort(losses, axis=0), axis=0)).max() > 0.01


def test_maxup_of_one_copy_is_cutout():
    images, labels = make_batch(6)
    result, _ = MaxUp(copies=1, size=5).mix(make_classifier(), images, labels, KEY)
    expected, _ = mixed(Cutout(size=5), images, labels, next(split_key(KEY)))
    np.testing.assert_array_equal(result, expected)


def test_maxup_has_cutouts_default():
    images, labels = make_batch(6)
    result, _ = MaxUp(copies=1).mix(make_classifier(), images, labels, KEY)
    expected, _ = mixed(Cutout(size=4), images, labels, next(split_key(KEY)))
    np.testing.assert_array_equal(result, expected)
