"""Fine-pruning: which features go, by hand, and the dormant unit of a planted backdoor."""

import numpy as np
import planted

import tfpoison
from tfpoison.repairing.fine_pruning import keep


def test_the_least_active_go_as_long_as_the_accuracy_stays():
    features = np.array([[2.0, 0, 0.1, 0], [2, 0, 0.1, 0], [0, 1, 0.1, 0], [0, 1, 0, 0]])
    kernel = np.array([[1.0, 0], [0, 1], [0, 1], [1, 0]])
    labels = np.array([0, 0, 1, 1])
    # In the order of their means, 0, 0.075, 0.5, 1: the third costs half of the accuracy.
    np.testing.assert_array_equal(keep(features, kernel, 0, labels, 0.1), [1, 1, 0, 0])
    np.testing.assert_array_equal(keep(features, kernel, 0, labels, 0.5), [1, 0, 0, 0])


def test_the_dormant_unit_is_pruned_for_good():
    images, labels = planted.images(40)
    repaired = tfpoison.repair(planted.network(), images, labels, "fine_pruning", epochs=3)
    head = repaired.get_layer("head").get_weights()[0]
    np.testing.assert_array_equal(head[planted.DORMANT], 0)
    assert np.abs(head[: planted.DORMANT]).max(axis=1).min() > 0.5
    assert planted.measures(repaired) == (1, 0)
