"""What every revision keeps: the contract, the table, and what is refused."""

import keras
import numpy as np
import pytest
from test_training_set_revision import (
    IMAGES,
    LABELS,
    SIZE,
    Subclassed,
    broken,
    make_images,
    make_network,
)

from tfpoison.defenses import revisions
from tfpoison.defenses.revisions import Epic


@pytest.mark.parametrize("name", revisions.names())
def test_every_revision_keeps_the_contract(name):
    defense = revisions.get(name)
    network = make_network()
    before = network.get_weights()
    first, second = (defense.revise(network, IMAGES, LABELS, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.kept, second.kept)
    np.testing.assert_array_equal(first.images, second.images)
    assert (first.kept.dtype, first.kept.shape) == (np.bool_, (SIZE,))
    assert (first.images.dtype, first.images.shape) == (np.uint8, IMAGES.shape)
    np.testing.assert_array_equal(network.get_weights()[0], before[0])
    np.testing.assert_array_equal(IMAGES, make_images())
    for total in range(2, 100):
        epochs = defense.epochs(total)
        assert list(epochs) == sorted(set(epochs))
        assert 1 <= epochs[0] <= epochs[-1] < total
    config = keras.saving.serialize_keras_object(defense)
    assert keras.saving.deserialize_keras_object(config) == defense


def test_table():
    assert revisions.names() == ["epic", "friendly_noise"]
    assert revisions.get("epic", share=0.2) == Epic(share=0.2)
    with pytest.raises(ValueError, match="Did you mean 'epic'"):
        revisions.get("epik")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"network": "network"}, TypeError, "`network`"),
        ({"network": Subclassed()}, ValueError, "Functional"),
        ({"network": broken()}, ValueError, "diverged"),
        ({"network": make_network("softmax")}, ValueError, "logits"),
        ({"images": IMAGES[0]}, ValueError, "uint8"),
        ({"labels": LABELS + 1}, ValueError, "from 0 to 1, .* outputs being 2. Received: 2"),
        ({"seed": 0.5}, TypeError, "`seed`"),
    ],
)
def test_revise_refuses(arguments, error, message):
    usual = {"network": make_network(), "images": IMAGES, "labels": LABELS, "seed": 0}
    with pytest.raises(error, match=message):
        Epic().revise(**(usual | arguments))


@pytest.mark.parametrize(("total", "error"), [(0, ValueError), (4.0, TypeError)])
def test_epochs_refuses(total, error):
    with pytest.raises(error, match="`total`"):
        Epic().epochs(total)
