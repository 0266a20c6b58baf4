"""Unlearning trains on images that carry the trigger that was found."""

import numpy as np
import planted

from tfpoison.repairing.subject import Subject
from tfpoison.repairing.unlearning import Unlearning


def test_a_share_of_each_batch_carries_the_trigger(monkeypatch):
    images, labels = planted.images(40)
    seen = {}
    monkeypatch.setattr(Unlearning, "fine_tune", lambda *_, **given: seen.update(given))
    subject = Subject.of(planted.network(), images, labels)
    Unlearning(share=0.25, steps=120).repair(subject)
    positions = np.arange(8, 28)
    drawn, kept = seen["draw"](positions)
    changed = np.abs(drawn - images[positions]).max(axis=(1, 2, 3)) > 0.1
    np.testing.assert_array_equal(changed, np.arange(20) < 5)
    np.testing.assert_array_equal(kept.argmax(axis=1), labels[positions])
    # The backdoor's own: the network falls for it.
    turned = planted.answers(subject.network, drawn[:5]) == planted.TARGET
    assert turned.all()
