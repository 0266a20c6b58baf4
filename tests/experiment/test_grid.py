"""Grids: who is in them, and what a process tells that works or waits."""

import dataclasses
import types

import pytest
from clean_networks_of_tests import make_images

from tfpoison.experiment import grid as grids
from tfpoison.experiment.grid import Grid, GridRunner
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.victim import Victim
from tfpoison.runs.records import Records
from tfpoison.runs.run_directory import RunDirectory

ATTACKS = tuple(AttackSettings(each, threat={"budget": 2}) for each in ("watermark", "bullseye"))
GRID = Grid(ATTACKS, ("standard", "adaptive"), ("none", "noise_uniform"), trials=2, victims=1)


def test_adversaries_adapt_to_a_defense_with_surrogates_alone():
    victims = [(each.recipe, each.adversary, each.defense) for each in GRID if each.trial == 1]
    assert victims == [
        ("watermark", "standard", "none"),
        ("watermark", "standard", "noise_uniform"),
        ("bullseye", "standard", "none"),
        ("bullseye", "standard", "noise_uniform"),
        ("bullseye", "adaptive", "noise_uniform"),
    ]
    assert len(list(GRID)) == 10
    assert all(
        [attack.recipe for attack in GRID.attacks_on(each)] == [each.recipe] for each in GRID
    )


def test_recipes_and_adversaries_share_a_training(tmp_path):
    counts = {"watermark": 2, "bullseye": 1}
    attacks = tuple(dataclasses.replace(each, adversaries=counts[each.recipe]) for each in ATTACKS)
    shared = dataclasses.replace(GRID, attacks=attacks, trials=1, share_training=True)
    first, *others = shared
    assert (first.recipe, [each.adversary for each in others]) == (
        "watermark+bullseye",
        ["standard", "adaptive"],
    )
    assert [each.recipe for each in shared.attacks_on(first)] == ["watermark", "bullseye"]
    outcomes = shared.outcomes(first)
    assert [(recipe, number) for recipe, *_, number in outcomes] == [
        *(("watermark", 0), ("watermark", 1), ("bullseye", 0))
    ]
    records = Records(RunDirectory(tmp_path, {}))
    for recipe, *rest, number in outcomes:
        # A victim is done when all of its adversaries are recorded.
        assert shared.left(records) == [first, *others]
        own = dataclasses.asdict(Victim(recipe, *rest))
        training = {"training": first.recipe, "threat": number, "threats": 3}
        records.append(own | training | {"success": 1.0})
    assert shared.left(records) == others
    with pytest.raises(ValueError, match=r"recorded training, watermark\+bullseye.*: watermark\."):
        dataclasses.replace(shared, attacks=ATTACKS[:1]).left(records)


def make_runner(directory, monkeypatch, measured):
    setup = types.SimpleNamespace(images=make_images())
    runner = GridRunner(GRID, setup, directory, seed=0)

    def measure(victim, work):
        measured.append(victim)
        unknown = dict.fromkeys(("success", "target_confidence", "clean_accuracy"))
        outcome = unknown | {"diverged": "It did.", "seconds": {"training": 1.0}}
        return [dataclasses.asdict(victim) | outcome]

    monkeypatch.setattr(runner, "_measure", measure)
    return runner


def test_a_process_that_waits_for_others_says_for_whom(tmp_path, monkeypatch, capsys):
    directory, measured = RunDirectory(tmp_path, {}), []
    records, runner = Records(directory), make_runner(directory, monkeypatch, measured)
    monkeypatch.setattr(grids, "_WAIT_SECONDS", 0)
    (first, *others), told = list(GRID), []

    def sleep(seconds):
        # By the time of the third look the other process has left, without a record.
        told.append(capsys.readouterr().err)
        if len(told) == 2:
            lock.__exit__(None, None, None)

    monkeypatch.setattr(grids.time, "sleep", sleep)
    lock = directory.try_lock(f"victim-{first.name}")
    assert lock.__enter__()
    runner.run(records)
    assert measured == [*others, first]
    assert [
        each.count(f"waiting for other processes to be done with {first.name}") for each in told
    ] == [1, 0]


def test_how_long_the_rest_takes_is_told(tmp_path, monkeypatch, capsys):
    directory = RunDirectory(tmp_path, {})
    runner = make_runner(directory, monkeypatch, [])
    runner.run(Records(directory))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert "1 of 10 victims, about" in lines[0]
    assert lines[0].startswith("trial 0  watermark  from_scratch  standard  none: not counted")
    assert lines[-1].endswith("10 of 10 victims")


def test_data_that_allow_no_threat(tmp_path):
    attacks = (AttackSettings("watermark", threat={"budget": 7}),)
    setup = types.SimpleNamespace(images=make_images())
    with pytest.raises(ValueError, match="budget of at most 6"):
        GridRunner(
            dataclasses.replace(GRID, attacks=attacks), setup, RunDirectory(tmp_path, {}), seed=0
        )
