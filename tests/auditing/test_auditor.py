"""An audit of one's own arrays: without flags, without files of its own."""

import json

import numpy as np
import pytest

import tfpoison
from tfpoison import data
from tfpoison.auditing import auditor
from tfpoison.data import KeepList
from tfpoison.defenses.filters import ActivationClustering
from tfpoison.fitting.settings import TrainingSettings

FAST = {"network": "mlp", "training": TrainingSettings(epochs=1), "verbose": False}


@pytest.fixture(scope="module")
def digits():
    train = data.load("digits").train
    return train.images[:200], train.labels[:200]


def test_arrays_are_audited_and_saved(digits, tmp_path):
    images, labels = digits
    names = ["spectral_signatures", "deep_knn", "activation_clustering", "isolation(networks=2)"]
    names += ["linear_discriminants(share=0.05)", "margin_drop(share=0.2;repairs=2)"]
    audit = tfpoison.audit(images, labels, is_poison=np.arange(200) < 20, filters=names, **FAST)
    assert list(audit.suspicions) == names
    # The filter that looks at losses has asked networks of its own.
    assert audit.suspicions["isolation(networks=2)"].suspects.sum() == 2
    assert audit.suspicions["isolation(networks=2)"].scores.max() < 0
    assert audit.suspicions["linear_discriminants(share=0.05)"].suspects.sum() == 10
    # The one that looks at margins asks the network of the others once more.
    alone = tfpoison.audit(images, labels, filters=names[-1:], agreement=1, **FAST)
    margins = audit.suspicions[names[-1]]
    np.testing.assert_array_equal(margins.scores, alone.suspicions[names[-1]].scores)
    assert margins.suspects.sum() == 40
    assert audit.rank.shape == audit.agreement.shape == (200,)
    assert audit.keep_list.size == (audit.agreement < 2).sum()
    assert set(audit.detection()) >= set(names)
    path = audit.save(tmp_path / "audit")
    assert path.name == "audit.html" and "20 poisons are among them" in path.read_text()
    kept = KeepList.load(tmp_path / "audit" / "keep.csv")
    assert kept.ids.tolist() == audit.keep_list.ids.tolist()
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    assert (report["images"], report["poisons"]) == (200, 20)
    assert len(audit.table()) == 201


def test_floats_and_one_hot_labels_are_the_same_audit(digits):
    images, labels = digits
    settings = FAST | {"filters": ["deep_knn(neighbors=5)", ActivationClustering()]}
    first, *others = [
        tfpoison.audit(images, labels, **settings),
        tfpoison.audit((images / 255).astype(np.float32), np.eye(10)[labels], **settings),
        tfpoison.audit(data.InMemoryExamples(images, labels, np.arange(200) + 5), **settings),
    ]
    for audit in others:
        for name, suspicion in audit.suspicions.items():
            np.testing.assert_array_equal(suspicion.scores, first.suspicions[name].scores)
    assert next(iter(first.suspicions)) == "deep_knn(neighbors=5)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((4, 8, 8, 1)) - 1.0}, r"floats in \[0, 1\]. Received floats from -1"),
        ({"images": np.zeros((4, 8, 8), np.uint8)}, r"shape \(n, H, W, C\)"),
        ({"labels": np.zeros(4)}, "integers from 0"),
        ({"labels": np.zeros(3, int)}, "3 labels"),
        ({"filters": []}, "Expected filters"),
        ({"filters": ["mixup"]}, "`filters` to be filters.*Received: mixup"),
        ({"agreement": 5}, "`agreement`"),
        ({"files": ["a"]}, "`files` to have an entry for each of 4 images. Received: 1"),
        ({"is_poison": [True]}, "`is_poison` to have an entry for each of 4 images"),
        ({"class_names": ["a"], "labels": np.arange(4)}, "1 class name"),
        ({"network": "nothing"}, "network"),
    ],
)
def test_what_is_no_data_set_is_refused(changes, message, monkeypatch):
    monkeypatch.setattr(auditor.Auditor, "_gather", None)
    arrays = {"images": np.zeros((4, 8, 8, 1), np.uint8), "labels": np.zeros(4, int)}
    with pytest.raises(ValueError, match=message):
        tfpoison.audit(**(arrays | changes))
