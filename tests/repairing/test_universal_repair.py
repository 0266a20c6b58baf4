"""Universal perturbations against a network: where they lie, and the ε that turns most."""

import numpy as np
import planted
import pytest

from tfpoison.repairing import universal
from tfpoison.repairing.subject import Subject
from tfpoison.repairing.universal import UnlearnUniversal, _Crafting

IMAGES, LABELS = planted.images(40)


def test_they_move_pixels_toward_each_class():
    subject, epsilon = Subject.of(planted.network(), IMAGES, LABELS), 0.25
    found = _Crafting(subject, epsilon, 12)(0, subject.generator())
    assert found.shape == (5, *IMAGES.shape[1:])
    assert np.abs(found).max() <= epsilon + 1e-6
    for label in range(planted.CLASSES):
        # A class has the network's first order: its column up, all other columns down.
        others = np.delete(found[label, 1:], label, axis=1)
        assert found[label, 1:, label].mean() > 0.15 > others.mean()


def test_the_least_that_turns(monkeypatch):
    """Five pixels of weight 2 are ahead by 7.5 in the mean, which 2 · 10 ε must outweigh."""
    monkeypatch.setattr(universal, "_FIRST_EPSILON", 0.3)
    subject = Subject.of(planted.network(), IMAGES, LABELS)
    assert UnlearnUniversal()._least_that_turns(subject) == pytest.approx(0.3 * 2**0.5)
