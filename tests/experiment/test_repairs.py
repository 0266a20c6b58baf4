"""Repairs of victims: with which images, and what stands in the records."""

import types

import numpy as np
import pytest
from clean_networks_of_tests import make_clean_networks, make_images, make_reader
from test_adversary import make_adversary

from tfpoison.experiment.repairs import Repairs
from tfpoison.experiment.victim import Victim, measure_victim
from tfpoison.repairing.base import Repair
from tfpoison.repairing.table import REPAIRS
from tfpoison.runs.run_directory import RunDirectory


class NeverSay(Repair):
    """Makes networks of pixels never answer with class 0."""

    def repair(self, subject):
        kernel, bias = subject.network.get_weights()
        subject.network.set_weights([kernel, bias - np.array([9, 0, 0, 0])])


class Refuse(Repair):
    """Repairs other networks alone."""

    def repair(self, subject):
        raise ValueError("Expected another network.")


class Diverge(Repair):
    """Ends with weights that are not finite."""

    def repair(self, subject):
        subject.network.set_weights([each * np.nan for each in subject.network.get_weights()])


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.setitem(REPAIRS._makers, "never_say", NeverSay)
    monkeypatch.setitem(REPAIRS._makers, "refuse", Refuse)
    monkeypatch.setitem(REPAIRS._makers, "diverge", Diverge)


def poisons(target_ids, trigger=None):
    threat = types.SimpleNamespace(target_ids=np.array(target_ids), trigger=trigger)
    return types.SimpleNamespace(threat=threat)


def test_single_targets_are_not_among_the_clean_images():
    validation = make_images().validation
    both = [poisons([3]), poisons(range(16), trigger="any")]
    chosen = Repairs(("universal",), 15).choose(validation, both, seed=0)
    np.testing.assert_array_equal(np.sort(chosen), np.delete(np.arange(16), 3))
    assert Repairs((), 15).choose(validation, both, seed=0).size == 0


def test_there_must_be_a_method_and_images_to_measure_by():
    Repairs((), 500).check(100)
    with pytest.raises(ValueError, match=r"repair_images.*100 validation"):
        Repairs(("universal",), 95).check(100)
    with pytest.raises(ValueError, match=r"universall.*Did you mean"):
        Repairs(("universall",), 50).check(100)


def test_a_repaired_victim_is_a_column_measured_by_the_other_images(tmp_path, methods):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, learning_rate=1e-9)
    clean.setup.make_network = lambda seed: make_reader()
    adversary = make_adversary(clean, tmp_path, recipe="badnets", clean_networks=0)
    victim = Victim("badnets", "from_scratch", "standard", "none", trial=0, victim=0)
    names = ["never_say", "refuse", "diverge"]
    work, repairs = RunDirectory(tmp_path, {}).folder("work"), Repairs(tuple(names), 10)
    made = [adversary.poisons(0)]
    measured = measure_victim(victim, clean, made, work, checkpoint_seconds=60, repairs=repairs)
    assert list(measured) == ["none", *(f"none, repair={name}" for name in names)]
    before, after, refused, lost = (rows[0] for rows in measured.values())
    seed = clean.setup.seed_of("repair", 0, 0)
    rest = np.delete(images.validation.labels, repairs.choose(images.validation, made, seed))
    assert before["clean_accuracy"] == 1
    assert after["clean_accuracy"] == pytest.approx(np.mean(rest != 0), abs=1e-6)
    assert "confidence_by_epoch" not in after
    assert before["seconds"].keys() == {"training"}
    assert after["seconds"].keys() == {"training", "repair"}
    assert after["seconds"]["training"] == before["seconds"]["training"]
    assert (refused["success"], refused["diverged"]) == (None, "Expected another network.")
    assert lost["success"] is None
    assert "weights that are not finite, of Diverge" in lost["diverged"]
