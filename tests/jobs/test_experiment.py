"""Grids of trials: recorded once, extended, shared, and the same after SIGKILL."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from tfpoison import launch, recipes
from tfpoison.experiment import clean_networks
from tfpoison.experiment.adversary import Adversary
from tfpoison.fitting.trainer import load_weights
from tfpoison.recipes import Poisons
from tfpoison.recipes.crafting import Crafter
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.records import Records
from tfpoison.runs.run_directory import RunDirectory

ROOT = pathlib.Path(__file__).parents[2]
GRID = [
    *("--job=experiment", "--dataset=digits", "--train_size=200", "--validation_size=100"),
    *("--network=mlp", "--width=16", "--epochs=3", "--batch_size=50", "--optimizer=adam"),
    *("--learning_rate=0.01", "--epsilon=0.5", "--budget=8", "--brew_steps=5", "--restarts=2"),
    *("--brew_augmentation=none", "--defenses=none,noise_uniform", "--clean_networks=1"),
    "--verbosity=-1",
]
# Images of 8×8 pixels with a trigger of 4×4 under the adversary's label: one cannot miss it.
BADNETS = [
    *("--job=experiment", "--dataset=digits", "--train_size=400", "--validation_size=200"),
    *("--network=mlp", "--width=16", "--epochs=8", "--batch_size=50", "--optimizer=adam"),
    *("--learning_rate=0.01", "--recipes=badnets", "--budget=20", "--trigger_size=4"),
    *("--trigger_place=top_left", "--defenses=none", "--trials=1", "--seed=3", "--verbosity=-1"),
]
TRANSFER = ["--scenarios=transfer", "--pretraining_source=other_images", "--pretraining_size=200"]


def run(directory, *more):
    return launch.main([*GRID, f"--output_dir={directory}", *more])


def read(directory):
    """Returns the records by victim, without the times that differ from run to run."""
    lines = (directory / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["seconds"]
    names = ("recipe", "scenario", "adversary", "defense", "trial", "victim")
    by_victim = {tuple(record[name] for name in names): record for record in records}
    assert len(by_victim) == len(records)
    return by_victim


def check_surrogates(directory):
    """The adversary who knows the defense crafts against networks trained with it, and only he."""
    names = ("none", "noise_uniform")
    networks = RunDirectory(directory / "networks", {})
    files = [f"surrogate-from_scratch-{name}-0.npz" for name in names]
    assert {each.name for each in networks.path.glob("surrogate*.npz")} == set(files)
    surrogates = [load_weights(networks, file) for file in files]
    assert any((one != other).any() for one, other in zip(*surrogates, strict=True))
    poisons = [
        Poisons.load(directory / f"poisons/gradient_matching-from_scratch-{name}-0.npz")
        for name in names
    ]
    assert [each.settings["surrogates_defense"] for each in poisons] == list(names)
    # The same images are poisoned, and otherwise.
    np.testing.assert_array_equal(poisons[0].ids, poisons[1].ids)
    assert (poisons[0].perturbations != poisons[1].perturbations).any()


def test_a_grid(tmp_path, monkeypatch):
    directory, measures = tmp_path / "grid", Adversary.without_poisons

    def of_column(self, poisons, column):
        return {
            name: abs(value - 0.5 * (column != "none"))
            for name, value in measures(self, poisons, column).items()
        }

    monkeypatch.setattr(Adversary, "without_poisons", of_column)
    assert run(directory, "--trials=1", "--adversaries=standard,adaptive") == 0
    first = read(directory)
    # Undefended, defended, and defended against the adversary who knows.
    assert len(first) == 3
    for record in first.values():
        assert record["trial_key"] == "0-0"
        assert record["poison_count"] == 8
        assert 0 < record["epsilon"] <= 0.5
        assert len(record["confidence_by_epoch"]) == 3
        assert record["confidence_by_epoch"][-1] == pytest.approx(
            record["target_confidence"], abs=1e-4
        )
        # Of the record's own column, where no target is missed.
        half = 0.5 * (record["defense"] != "none")
        assert record["success_without_poisons"] == half
        assert record["robust_accuracy_without_poisons"] == 1 - half
    check_surrogates(directory)
    # The same threat in all columns.
    assert len({tuple(record["target_ids"]) for record in first.values()}) == 1
    assert run(directory, "--trials=2", "--victims=2") == 0
    more = read(directory)
    assert len(more) == 9
    assert {key: more[key] for key in first} == first
    assert run(directory, "--trials=2", "--seed=1") == 2
    assert (directory / "report/report.html").exists()
    assert not list((directory / "work").iterdir())


def test_poisons_reach_the_victim(tmp_path):
    """Victims that learn of the trigger fall for it; those that never saw it do not."""
    assert launch.main([*BADNETS, f"--output_dir={tmp_path}"]) == 0
    (record,) = read(tmp_path).values()
    assert record["targets"] > 10
    assert record["success"] > 0.8
    assert record["success_without_poisons"] < 0.2
    assert record["clean_accuracy"] > 0.7


OF_FEATURES = {"bullseye", "hidden_trigger"}
OF_SEVERAL_NETWORKS = {"metapoison", "sleeper_agent"}


@pytest.mark.parametrize(
    ("chosen", "flags"),
    [
        (set(recipes.names()) - OF_FEATURES - OF_SEVERAL_NETWORKS, []),
        (OF_FEATURES, TRANSFER),
        (OF_SEVERAL_NETWORKS, ["--surrogates=2", "--staggered", "--retrainings=1"]),
    ],
    ids=["usual", "of features", "of several networks"],
)
def test_every_recipe(chosen, flags, tmp_path):
    """In one grid, whose networks they share."""
    flags = [f"--recipes={','.join(sorted(chosen))}", "--brew_steps=2", *flags]
    assert run(tmp_path, "--trials=1", "--defenses=none", *flags) == 0
    records = {record["recipe"]: record for record in read(tmp_path).values()}
    assert records.keys() == chosen
    for name, record in records.items():
        recipe = recipes.get(name)
        assert record["epsilon"] > 0
        assert 0 <= record["robust_accuracy"] <= 1 - record["success"]
        # All held-out images of the source class, or of all other classes.
        assert record["targets"] > (50 if recipe.all_to_one else recipe.triggered)
        assert (record["target_class"] == "any other class") == recipe.all_to_one


def test_nothing_finished_is_done_twice(tmp_path, monkeypatch, capsys):
    """Killed between what came of the work and the end of its state, either way round."""
    done, end, step = [], Checkpoint.on_epoch_end, Crafter._step_all
    monkeypatch.setattr(
        Checkpoint, "on_epoch_end", lambda *given: (done.append("epoch"), end(*given))
    )
    monkeypatch.setattr(Crafter, "_step_all", lambda *given: (done.append("step"), step(*given)))

    def die(*_, **__):
        raise KeyboardInterrupt

    flags = ["--defenses=none", "--trials=1", "--clean_networks=0", "--checkpoint_seconds=1e-9"]
    moments = [(clean_networks, "save_weights"), (RunDirectory, "discard"), (Poisons, "save")]
    moments += [(pathlib.Path, "unlink"), (Records, "append"), (RunDirectory, "discard")]
    for owner, name in moments:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, die)
            assert run(tmp_path, *flags) == 130
    assert run(tmp_path, *flags) == 0
    # A surrogate, two restarts of brewing, a victim.
    assert done == 3 * ["epoch"] + 10 * ["step"] + 3 * ["epoch"]
    assert list((tmp_path / "work").iterdir()) == []
    # What a grid of more victims has left is told of.
    capsys.readouterr()
    (tmp_path / "work" / "victim-9").mkdir()
    (tmp_path / "work" / "victim-9" / "checkpoint.npz").touch()
    assert run(tmp_path, *flags) == 0
    assert "unfinished work" in (told := capsys.readouterr().err)
    assert told.endswith("victim-9\n")


def start(directory, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "tfpoison.launch", *GRID, f"--output_dir={directory}", *more],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(reached, process):
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_when(process, reached):
    wait_until(reached, process)
    process.kill()
    process.wait()


def test_killed_and_shared_grids_end_as_one_that_was_not(tmp_path):
    flags = ["--trials=2", "--brew_steps=40", "--checkpoint_seconds=0.001"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(whole, *flags) == 0
    expected = read(whole)
    assert len(expected) == 4
    work = killed / "work"
    kill_when(start(killed, *flags), lambda: list(work.glob("brewing-*.npz")))
    # Two share what is left; the one that is killed leaves the other, this process, its part of it.
    other = start(killed, *flags)
    wait_until(lambda: list(work.glob("gradient*/checkpoint.npz")), other)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        done = threads.submit(kill_when, other, (killed / "records.jsonl").exists)
        assert run(killed, *flags) == 0
        done.result()
    assert read(killed) == expected
