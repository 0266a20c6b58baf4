"""Inversion finds the trigger that is planted."""

import numpy as np
import planted
import pytest

from tfpoison.repairing.inversion import Inversion, InvertedTrigger
from tfpoison.repairing.subject import Subject


@pytest.mark.parametrize(
    ("channels", "activation", "scale"), [(1, None, 1.0), (3, "softmax", 255.0)]
)
def test_a_planted_trigger_is_found(channels, activation, scale):
    network = planted.network(channels=channels, activation=activation, scale=scale)
    images, labels = planted.images(30, channels=channels)
    subject = Subject.of(network, scale * images, None, (0, scale))
    inversion = Inversion(subject, steps=150)
    found, other = inversion(planted.TARGET), inversion(0)
    assert found.success == 1 and other.success == 1
    assert found.mask.shape == (6, 5, 1) and found.pattern.shape == (6, 5, channels)
    # It lies on the corner's pixel, and is bright there.
    assert found.mask[0, 0, 0] == found.mask.max() > 0.3
    assert found.mask[0, 0, 0] > 0.6 * found.size
    assert found.pattern[0, 0].min() > 0.9
    assert found.size < 0.5 * other.size
    # It does turn the images that the network takes.
    others = found.put_on(images[labels != planted.TARGET])
    assert (planted.answers(network, scale * others) == planted.TARGET).all()


def test_a_class_that_all_images_have_needs_no_trigger():
    images = planted.images(50)[0][planted.TARGET :: planted.CLASSES]
    found = Inversion(Subject.of(planted.network(), images), steps=1)(planted.TARGET)
    assert (found.size, found.success) == (0, 1)


def test_put_on_by_hand():
    mask = np.array([[[0.0], [0.5], [1.0]]])
    trigger = InvertedTrigger(mask, np.array([[[1.0], [1.0], [0.25]]]), 1.0)
    np.testing.assert_allclose(
        trigger.put_on(np.full((1, 1, 3, 1), 0.5)).ravel(), [0.5, 0.75, 0.25]
    )
    assert trigger.size == 1.5
