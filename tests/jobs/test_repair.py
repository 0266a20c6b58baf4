"""The job that repairs a network in a file."""

import json

import keras
import numpy as np

from tfpoison import launch
from tfpoison.repairing import scanning

FLAGS = ["--job=repair", "--repair=fine_pruning(epochs=0)", "--clean_images=20"]


def test_repair(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(scanning.scan.__kwdefaults__, "steps", 2)
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(10)]
    network = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    network.save(tmp_path / "network.keras")
    flags = [*FLAGS, f"--model={tmp_path / 'network.keras'}", f"--output_dir={tmp_path / 'run'}"]
    assert launch.main(flags) == 0
    told = capsys.readouterr().out
    assert "Repaired by fine_pruning(epochs=0) with 20 clean images" in told
    repaired = keras.models.load_model(tmp_path / "run/repaired.keras")
    before, after = (each.layers[-1].kernel.numpy() for each in (network, repaired))
    pruned = (after == 0).all(axis=1)
    assert pruned.any()
    np.testing.assert_array_equal(after[~pruned], before[~pruned])
    report = json.loads((tmp_path / "run/repair.json").read_text())
    assert 0 <= report["accuracy_after"] <= 1 and len(report["after"]["size"]) == 10
    page = (tmp_path / "run/repair.html").read_text()
    assert page.count("data:image/jpeg") == 20 and "of 497 others" in page


def test_an_unknown_method_is_refused(tmp_path, capsys):
    assert launch.main([*FLAGS, "--repair=anpp", f"--output_dir={tmp_path}"]) == 2
    assert "Did you mean 'anp'" in capsys.readouterr().err
