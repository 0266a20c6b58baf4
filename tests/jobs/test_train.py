"""The job that trains: what it leaves, and that a killed run ends as one that was not."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import keras
import launch_with_dropout
import numpy as np
import pytest

from tfpoison import data, launch, networks
from tfpoison.fitting import trainer
from tfpoison.fitting.settings import TrainingSettings
from tfpoison.recipes import Poisons

ROOT = pathlib.Path(__file__).parents[2]
QUICK = [
    *("--dataset=digits", "--train_size=256", "--validation_size=100", "--epochs=2"),
    *("--batch_size=32", "--optimizer=adam", "--learning_rate=0.01", "--augmentation=shift"),
    "--verbosity=-1",
]
DEFENDED = [
    *("--defense=adversarial_poisoning", "--defense_attack=gradient_matching_fast"),
]


def train(directory, *more):
    return launch.main([*QUICK, f"--output_dir={directory}", *more])


def read_metrics(directory):
    with open(directory / "metrics.csv") as file:
        return list(csv.DictReader(file))


def test_what_a_run_leaves(tmp_path):
    directory = tmp_path / "run"
    assert train(directory, *DEFENDED) == 0
    rows = read_metrics(directory)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["objective_after"]) < float(rows[1]["objective_before"])
    report = json.loads((directory / "report.json").read_text())
    assert report["clean_accuracy"] == pytest.approx(float(rows[1]["val_accuracy"]))
    network = keras.models.load_model(directory / "network.keras")
    images = data.load("digits", train_size=256, validation_size=100)
    predictions = network.predict(images.validation.images / 255.0, verbose=0).argmax(axis=1)
    accuracy = (predictions == images.validation.labels).mean()
    assert accuracy == pytest.approx(report["clean_accuracy"], abs=1e-6)
    assert (directory / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert "Inside the training" in (directory / "report.html").read_text()
    assert list((directory / "tensorboard").rglob("events*"))
    assert "--defense_attack=gradient_matching_fast" in (directory / "config.flags").read_text()
    assert not list(directory.glob(".*partial*"))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_every_half_precision(precision, tmp_path):
    flags = ["--epochs=1", "--train_size=64", "--network=mlp", "--width=8"]
    assert train(tmp_path / "run", *flags, f"--precision={precision}") == 0
    network = keras.models.load_model(tmp_path / "run/network.keras")
    assert network.get_layer("dense1").dtype_policy.name == precision
    assert np.isfinite(float(read_metrics(tmp_path / "run")[0]["loss"]))


def test_there_is_no_other_precision():
    with pytest.raises(ValueError, match="one of: float32, mixed_bfloat16, mixed_float16"):
        TrainingSettings(precision="float64")


def test_poisons_are_trained_on(tmp_path):
    """A network trained on a trigger's poisons falls for it; one trained without them does not."""
    flags = [
        *("--dataset=digits", "--train_size=400", "--validation_size=200", "--network=mlp"),
        *("--width=16", "--epochs=8", "--batch_size=50", "--optimizer=adam"),
        *("--learning_rate=0.01", "--seed=3", "--verbosity=-1"),
    ]
    brewing = ["--job=brew", "--recipes=badnets", "--budget=20", "--trigger_size=4"]
    brewing += ["--trigger_place=top_left", "--clean_networks=0"]
    file = tmp_path / "brew/poisons.npz"
    assert launch.main([*flags, *brewing, f"--output_dir={file.parent}"]) == 0
    assert launch.main([*flags, f"--poisons={file}", f"--output_dir={tmp_path / 'on'}"]) == 0
    assert launch.main([*flags, f"--output_dir={tmp_path / 'off'}"]) == 0
    threat = Poisons.load(file).threat
    images = data.load("digits", train_size=400, validation_size=200)
    triggered = threat.target_images(images.validation) / 255.0
    success = {}
    for name in ("on", "off"):
        network = keras.models.load_model(tmp_path / name / "network.keras")
        answers = network.predict(triggered, verbose=0).argmax(axis=1)
        success[name] = (answers == threat.adversarial_class).mean()
    assert success["on"] > 0.8
    assert success["off"] < 0.2
    report = json.loads((tmp_path / "on/report.json").read_text())
    assert report["poison_success"] == pytest.approx(success["on"])
    assert report["poisons"] == 20


def test_a_finished_run_is_not_trained_again(tmp_path, capsys):
    directory = tmp_path / "run"
    assert train(directory) == 0
    before = (directory / "checkpoint.npz").stat().st_mtime_ns
    weights = keras.models.load_model(directory / "network.keras").get_weights()
    assert train(directory) == 0
    assert (directory / "checkpoint.npz").stat().st_mtime_ns == before
    again = keras.models.load_model(directory / "network.keras").get_weights()
    assert all((one == other).all() for one, other in zip(weights, again, strict=True))
    network = (directory / "network.keras").read_bytes()
    flipped = bytearray(network)
    flipped[len(network) // 2] ^= 1
    for content in (b"", network[: len(network) // 2], bytes(flipped)):
        (directory / "network.keras").write_bytes(content)
        assert train(directory) == 2
        assert "network.keras as it was written" in (said := capsys.readouterr().err)
        assert "Remove it and report.json" in said
    (directory / "network.keras").write_bytes(network)
    for content in ('{"epochs": 2, "defense"', "{}", "[]", "[" * 10**5, '{"epochs": "two"}'):
        (directory / "report.json").write_text(content)
        assert train(directory) == 2
        assert "report.json as it was written" in (said := capsys.readouterr().err)
        assert "Remove it: the network is evaluated again." in said


@pytest.mark.parametrize("strategy", ["default", "mirrored"])
def test_a_run_whose_report_was_lost(strategy, tmp_path, mirrored_by_name):
    """Killed after the last epoch: the same report and network, from the checkpoint alone.

    No batch divides evenly over two replicas.
    """
    flags = [*DEFENDED, f"--strategy={strategy}", "--batch_size=33", "--validation_size=97"]
    assert train(tmp_path, *flags) == 0
    report = (tmp_path / "report.json").read_text()
    weights = keras.models.load_model(tmp_path / "network.keras").get_weights()
    for name in ("report.json", "network.keras"):
        (tmp_path / name).unlink()
    assert train(tmp_path, *flags) == 0
    assert (tmp_path / "report.json").read_text() == report
    again = keras.models.load_model(tmp_path / "network.keras").get_weights()
    assert all((one == other).all() for one, other in zip(weights, again, strict=True))


def test_poisons_of_other_held_out_images_are_refused_before_training(tmp_path, capsys):
    flags = [*("--dataset=digits", "--train_size=256", "--verbosity=-1"), "--recipes=badnets"]
    flags += ["--budget=5", "--clean_networks=0", "--validation_size=100"]
    assert launch.main(["--job=brew", *flags, f"--output_dir={tmp_path / 'brewed'}"]) == 0
    poisons = f"--poisons={tmp_path / 'brewed' / 'poisons.npz'}"
    assert train(tmp_path / "run", poisons, "--validation_size=20") == 2
    assert "--validation_size" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.npz").exists()
    assert train(tmp_path / "run", poisons) == 0


def test_a_directory_of_other_flags_is_refused(tmp_path, capsys):
    directory = tmp_path / "run"
    assert train(directory) == 0
    assert train(directory, "--learning_rate=0.02") == 2
    assert "--learning_rate=0.01 there, 0.02 now" in capsys.readouterr().err
    assert train(directory, "--verbosity=0", "--checkpoint_seconds=7") == 0


def test_a_directory_of_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("mine")
    assert train(tmp_path) == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_at_work_is_refused(tmp_path, capsys):
    import fcntl

    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert train(tmp_path) == 2
    assert "another process" in capsys.readouterr().err


def test_a_run_that_an_earlier_version_began(tmp_path):
    """It was stopped after the first of two epochs."""
    run = tmp_path / "run"
    shutil.copytree(pathlib.Path(__file__).parent / "begun_by_an_earlier_version", run)
    flags = [f"--flagfile={run / 'config.flags'}", f"--output_dir={run}", "--verbosity=-1"]
    assert launch.main(flags) == 0
    rows = read_metrics(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    losses = [float(row["loss"]) for row in rows]
    assert losses == pytest.approx([2.286498, 2.232996], abs=1e-4)


# PGD on every image: nothing of it depends on who shares a batch, or is drawn.
SHARED = [
    *("--dataset=digits", "--train_size=128", "--validation_size=50", "--epochs=1"),
    *("--batch_size=32", "--network=mlp", "--width=16", "--nobatch_normalization"),
    *("--defense=evasion(initializer=zero;optimizer=pgd;epsilon=0.1)", "--verbosity=-1"),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one device makes of it: the weights, the metrics and the report."""
    directory = tmp_path_factory.mktemp("alone") / "run"
    assert launch.main([*SHARED, f"--output_dir={directory}"]) == 0
    return read_run(directory)


def read_run(directory):
    weights = keras.models.load_model(directory / "network.keras").get_weights()
    return weights, read_metrics(directory), json.loads((directory / "report.json").read_text())


def assert_same_training(ours, theirs):
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
    assert len(ours[1]) == len(theirs[1]) == 1
    for name, value in theirs[1][0].items():
        if "seconds" not in name:
            assert float(ours[1][0][name]) == pytest.approx(float(value), abs=1e-3), name
    assert ours[2]["clean_accuracy"] == pytest.approx(theirs[2]["clean_accuracy"])


def test_a_mirrored_job_trains_as_one_device(alone, tmp_path, mirrored_by_name, monkeypatch):
    models, make_model = [], trainer.RobustModel

    def record(*arguments, **settings):
        models.append(make_model(*arguments, **settings))
        return models[-1]

    monkeypatch.setattr(trainer, "RobustModel", record)
    assert launch.main([*SHARED, "--strategy=mirrored", f"--output_dir={tmp_path / 'run'}"]) == 0
    assert_same_training(read_run(tmp_path / "run"), alone)
    assert [each.distribute_strategy for each in models] == [mirrored_by_name]


PLUGIN = """
from tfpoison import defenses

@defenses.register("shared")
def make():
    return defenses.from_text("evasion(initializer=zero;optimizer=pgd;epsilon=0.1)")
"""


@pytest.mark.timeout(240)
def test_a_job_of_two_workers_trains_as_one_device(alone, tmp_path, two_workers):
    """They share the directory, into which the first one writes; both import the plug-in."""
    (tmp_path / "my_parts.py").write_text(PLUGIN)
    flags = [*SHARED, "--plugin=my_parts", "--defense=shared"]
    flags += ["--strategy=multi_worker", f"--output_dir={tmp_path / 'run'}"]
    two_workers("-m", "tfpoison.launch", *flags)
    assert_same_training(read_run(tmp_path / "run"), alone)


def position(directory):
    try:
        with np.load(directory / "checkpoint.npz", allow_pickle=False) as arrays:
            found = json.loads(str(arrays["position"]))
            return found["epoch"], found["batch"]
    except FileNotFoundError:
        return 0, 0


def test_a_killed_run_ends_as_one_that_was_not(tmp_path, monkeypatch):
    """SIGKILL in mid-epoch: same weights, same metrics, with shuffling, shifts and dropout."""
    flags = [*DEFENDED, "--epochs=3", "--batch_size=4", "--checkpoint_seconds=0.05"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    victim = subprocess.Popen(
        [sys.executable, launch_with_dropout.__file__, *QUICK, *flags, f"--output_dir={killed}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not (position(killed) > (1, 0) and position(killed)[1] > 1):
        assert victim.poll() is None, victim.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    victim.kill()
    victim.wait()
    _, batch = position(killed)
    assert 0 < batch < 64
    monkeypatch.setattr(networks, "get", launch_with_dropout.make_network)
    for directory in (killed, whole):
        assert train(directory, *flags) == 0
    assert position(whole) == position(killed) == (3, 0)
    with (
        np.load(whole / "checkpoint.npz") as one,
        np.load(killed / "checkpoint.npz") as other,
    ):
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert (whole / "metrics.csv").read_text() == (killed / "metrics.csv").read_text()
