"""The job that scans a network in a file."""

import json

import keras
import pytest

from tfpoison import launch
from tfpoison.repairing import scanning


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "network.keras"
    linear(10).save(path)
    return path


def linear(classes):
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(classes)]
    return keras.Sequential(layers)


def scan(saved, directory, *more):
    flags = ["--job=scan", f"--model={saved}", f"--output_dir={directory}", "--clean_images=20"]
    return launch.main([*flags, *more])


def test_scan(saved, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(scanning.scan.__kwdefaults__, "steps", 2)
    assert scan(saved, tmp_path) == 0
    told = capsys.readouterr().out
    assert "backdoor" in told
    report = json.loads((tmp_path / "scan.json").read_text())
    assert len(report["size"]) == 10 and report["classes"][3] == "3"
    page = (tmp_path / "scan.html").read_text()
    assert page.count("data:image/jpeg") == 10 and f"--model={saved}" in page


def test_refused(saved, tmp_path, capsys):
    assert scan(tmp_path / "none.keras", tmp_path / "run") == 2
    assert "Expected --model to be the file of a network" in capsys.readouterr().err
    assert scan(saved, tmp_path / "run", "--clean_images=510") == 2
    assert "Expected --clean_images to leave 10 of 517" in capsys.readouterr().err
    assert scan(saved, tmp_path / "run", "--pixel_range=1,0") == 2
    assert "low bound of --pixel_range" in capsys.readouterr().err
    (tmp_path / "broken.keras").write_bytes(saved.read_bytes()[:99])
    assert scan(tmp_path / "broken.keras", tmp_path / "run") == 2
    assert "Save the network anew" in capsys.readouterr().err
    linear(7).save(tmp_path / "other.keras")
    assert scan(tmp_path / "other.keras", tmp_path / "run") == 2
    assert "a name for each of the network's 7 classes" in capsys.readouterr().err
