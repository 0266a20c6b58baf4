"""Scans: anomaly indices by hand, what is told of them, and the page."""

import json

import numpy as np
import planted
import pytest

import tfpoison
from tfpoison.repairing.inversion import InvertedTrigger
from tfpoison.repairing.scanning import Scan, anomaly_indices


def scan_of(sizes, shape=(5, 5, 1)):
    """A scan that found triggers of these sizes."""
    triggers = [
        InvertedTrigger(np.full((*shape[:2], 1), size / 25), np.ones(shape), 1.0) for size in sizes
    ]
    return Scan(triggers, [f"class {each}" for each in range(len(sizes))])


def test_anomaly_indices_by_hand():
    # The median is 10, the distances 0, 1, 1, 2, 8: their median is 1.
    sizes = np.array([10.0, 9, 11, 12, 2])
    np.testing.assert_allclose(anomaly_indices(sizes), np.array([0, 1, -1, -2, 8]) / 1.4826)
    assert np.isfinite(anomaly_indices(np.ones(5))).all()


def test_what_stands_out_is_told():
    clear = scan_of([10.0, 9, 11, 12, 2])
    assert clear.suspects == [4]
    assert "Probably a backdoor to class 4 (2 pixels" in clear.answer()
    assert "of 14 clean convolutional networks" in clear.answer()
    # An index above 2 alone is no sign: the sizes lie close together.
    close = scan_of([10.0, 9.9, 10.1, 10.2, 9])
    assert close.indices[4] > 2 and close.suspects == []
    assert "No class stands out" in close.answer()
    few = scan_of([1.0, 10, 10.1])
    assert few.suspects == [] and "3 classes are too few" in few.answer()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_page_shows_the_triggers(channels, tmp_path):
    scan = scan_of([10.0, 9, 11, 12, 2], (5, 5, channels))
    page = scan.save(tmp_path / "scan").read_text()
    assert page.count("data:image/jpeg") == 5 and "Probably a backdoor" in page
    report = json.loads((tmp_path / "scan/scan.json").read_text())
    assert report["suspects"] == ["class 4"] and report["size"] == [10, 9, 11, 12, 2]


def test_a_planted_backdoor_is_found():
    images, _ = planted.images(30)
    found = tfpoison.scan(planted.network(), images, class_names=list("abcde"), steps=120)
    assert found.suspects == [planted.TARGET] and "backdoor to d (" in found.answer()
    with pytest.raises(ValueError, match="a name for each of the network's 5 classes"):
        tfpoison.scan(planted.network(), images, class_names=["a"], steps=1)
