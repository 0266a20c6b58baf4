"""Trainings that diverge: stopped and told, and no network comes of them."""

import json
import types

import keras
import numpy as np
import pytest
from clean_networks_of_tests import make_clean_networks, make_images

from tfpoison import launch
from tfpoison.experiment.clean_networks import surrogates
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory
from tfpoison.training.divergence import DivergedError, DivergenceCheck, check_finished

DIGITS = [
    *("--dataset=digits", "--train_size=100", "--validation_size=50", "--network=mlp"),
    *("--epochs=2", "--learning_rate=1e30", "--verbosity=-1"),
]


def make_check():
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    check = DivergenceCheck()
    check.set_model(types.SimpleNamespace(network=network, optimizer=keras.optimizers.SGD(0.5)))
    check.on_epoch_begin(2)
    return check, network


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite(loss):
    check, _ = make_check()
    for logs in ({"loss": 0.5}, {"loss": 3e38}):
        check.on_train_batch_end(0, logs)
        check.on_epoch_end(2, logs)
    for look in (check.on_train_batch_end, check.on_epoch_end):
        with pytest.raises(DivergedError, match=rf"loss of {loss} in epoch 3.*rate of 0.5\. Lower"):
            look(3, {"loss": loss})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_the_last_step_has_spoilt(value):
    check, network = make_check()
    network.layers[-1].bias.assign([0.0, value])
    with pytest.raises(DivergedError, match="weights that are not finite in epoch 3"):
        check.on_epoch_end(2, {"loss": 0.5})


def test_unlearning_that_spoils_the_network_is_told(capsys, tmp_path):
    """Its victim would be one that no attack misleads: no trial is better than that one."""
    _, network = make_check()
    check_finished(network)
    flags = [*DIGITS, "--learning_rate=0.1", f"--output_dir={tmp_path / 'run'}"]
    rate = "--defense=isolation(share=0.2;unlearning_rate=1e38)"
    assert launch.main([*flags, "--job=train", rate]) == 2
    assert "finite after the defense's last steps" in capsys.readouterr().err
    assert not (tmp_path / "run" / "network.keras").exists()


@pytest.mark.parametrize("scenario", ["from_scratch", "transfer"])
def test_a_clean_network_is_named_and_not_kept(scenario, tmp_path):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, images, learning_rate=1e30, epochs=2)
    name = "pretrained-none" if scenario == "transfer" else "surrogate-from_scratch-none-0"
    with pytest.raises(DivergedError, match=f"{name} diverges on clean data.*--learning_rate"):
        clean.get(surrogates(scenario, "none", 1, epochs=2)[0])
    assert list((tmp_path / "networks").iterdir()) == []


@pytest.mark.parametrize("scenario", ["transfer", "fine_tuning"])
def test_from_pretrained_features(scenario, tmp_path):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, images, learning_rate=1e38, epochs=4)
    trainer = clean.setup.trainer(scenario, "none")
    pretrained = clean.setup.trainer("from_scratch", "none").fresh_network(0)
    checkpoint = Checkpoint(RunDirectory(tmp_path, {}).folder("head"), seconds=0)
    with pytest.raises(DivergedError):
        trainer.train(images.train, 0, checkpoint, pretrained=pretrained)


def test_the_job_train_leaves_no_network(tmp_path, capsys):
    assert launch.main([*DIGITS, "--job=train", f"--output_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "a loss of nan in epoch" in error
    assert "at a learning rate of 1e+30" in error
    assert not {"network.keras", "report.json"} & {each.name for each in tmp_path.iterdir()}


def test_victims_of_an_experiment_are_not_counted(tmp_path, capsys):
    flags = ["--job=experiment", "--recipes=watermark", "--trials=2", "--clean_networks=0"]
    assert launch.main([*DIGITS, *flags, "--defenses=none", f"--output_dir={tmp_path}"]) == 0
    for line in (tmp_path / "records.jsonl").read_text().splitlines():
        record = json.loads(line, parse_constant=pytest.fail)
        assert record["success"] is None
        assert "a loss of nan in epoch" in record["diverged"]
    assert "2 of 2 victims diverged" in (tmp_path / "report/report.html").read_text()
    # It has been measured: another start trains nothing anew.
    assert launch.main([*DIGITS, *flags, "--defenses=none", f"--output_dir={tmp_path}"]) == 0
    assert list((tmp_path / "work").iterdir()) == []
