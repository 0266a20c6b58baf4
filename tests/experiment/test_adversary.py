"""Adversaries: who can be a target, and what is brewed for whom against which networks."""

import numpy as np
import pytest
from clean_networks_of_tests import make_clean_networks, make_images, make_reader

from tfpoison import data
from tfpoison.experiment import adversary as adversaries
from tfpoison.experiment.adversary import Adversary
from tfpoison.experiment.settings import AttackSettings
from tfpoison.recipes.crafting import Crafter
from tfpoison.runs.run_directory import RunDirectory

MISSED = 2


def make_adversary(clean, directory, defense="none", recipe="watermark", count=1, **settings):
    return Adversary(
        AttackSettings(recipe, threat={"budget": 2}, adversaries=count, **settings),
        clean,
        column=defense,
        directory=RunDirectory(directory, {}),
        seed=0,
        checkpoint_seconds=60,
    )


def target_classes(directory, who, **settings):
    """The classes of the targets of many trials where one kind of networks misses a class."""
    clean = make_clean_networks(directory, make_images())

    def get(which):
        misses = who == ("surrogates" if which.role == "surrogate" else which.column)
        return make_reader(MISSED if misses else None)

    clean.get = get
    adversary = make_adversary(clean, directory, **settings)
    return {adversary.threat(trial).target_class for trial in range(20)}


@pytest.mark.parametrize("who", ["surrogates", "none", "noise_uniform"])
def test_no_target_is_missed_without_poisons(who, tmp_path):
    """By the undefended surrogate, or by clean victims of any column."""
    assert target_classes(tmp_path, who) == {0, 1, 3}


def test_any_target_where_none_is_missed_or_none_is_asked(tmp_path):
    assert target_classes(tmp_path, "nobody") == {0, 1, 2, 3}
    assert target_classes(tmp_path, "surrogates", clean_networks=0) == {0, 1, 2, 3}


def test_equal_brews_make_equal_files(tmp_path):
    """However long they took, which stands in a file of its own."""
    clean = make_clean_networks(tmp_path / "networks", make_images())
    files, name = [], "poisons/watermark-from_scratch-none-0"
    for folder in (tmp_path / "one", tmp_path / "other"):
        adversary = make_adversary(clean, folder, clean_networks=0)
        adversary.poisons(0)
        files.append((folder / f"{name}.npz").read_bytes())
        assert adversary.seconds(0).keys() == {"surrogates", "brewing"}
    assert files[0] == files[1]
    (folder / f"{name}-seconds.json").write_text('{"brewing": "long"}')
    with pytest.raises(ValueError, match=r"seconds.json as it was written.*Remove it"):
        adversary.seconds(0)
    (folder / f"{name}-seconds.json").unlink()
    assert adversary.seconds(0) == {}


def test_brewings_draw_apart(tmp_path, monkeypatch):
    """Each trial and each column, for its own held-out targets."""
    images, calls = make_images(), []
    clean = make_clean_networks(tmp_path / "networks", images)
    clean.train_missing = lambda wanted: None

    def craft(self, task, **more):
        calls.append((task.seed, task.targets))
        return task.images, []

    monkeypatch.setattr(Crafter, "craft", craft)
    clean.get = lambda which: make_reader()
    for defense in ("none", "noise_uniform"):
        adversary = make_adversary(
            clean, tmp_path, defense, recipe="gradient_matching", clean_networks=0
        )
        for trial in range(3):
            threat = adversary.poisons(trial).threat
            np.testing.assert_array_equal(calls[-1][1], images.validation.images[threat.target_ids])
    assert len({seed for seed, _ in calls}) == len(calls) == 6


def test_measures_without_poisons_are_those_of_the_column(tmp_path):
    clean = make_clean_networks(tmp_path, make_images())
    adversary = make_adversary(clean, tmp_path, clean_networks=0)
    poisons = adversary.poisons(0)
    misled = make_reader()
    misled.set_weights([np.zeros((4, 4)), np.eye(4)[poisons.threat.adversarial_class]])
    columns = {"none": [make_reader()] * 3, "noise_uniform": [misled, misled, make_reader()]}
    clean.get = lambda which: columns[which.column][which.number]
    adversary = make_adversary(clean, tmp_path, clean_networks=3)
    of_columns = [adversary.without_poisons(poisons, each) for each in columns]
    assert [list(each.values()) for each in of_columns] == [
        [0, 1],
        [pytest.approx(2 / 3), pytest.approx(1 / 3)],
    ]
    assert list(of_columns[0]) == ["success_without_poisons", "robust_accuracy_without_poisons"]


def test_a_threat_is_drawn_once_for_all_columns(tmp_path):
    """Whatever the networks classify rightly by the time that an adversary joins the grid."""
    clean = make_clean_networks(tmp_path / "networks", make_images())
    clean.train_missing = lambda wanted: None
    clean.get = lambda which: make_reader()
    drawn = make_adversary(clean, tmp_path).poisons(0).threat
    clean.get = lambda which: make_reader(never=drawn.target_class)
    later = make_adversary(clean, tmp_path, "noise_uniform").threat(0)
    np.testing.assert_array_equal(later.target_ids, drawn.target_ids)
    np.testing.assert_array_equal(later.poison_ids, drawn.poison_ids)
    assert later.adversarial_class == drawn.adversarial_class
    # Nothing is known of it elsewhere.
    elsewhere = make_adversary(clean, tmp_path / "elsewhere", "noise_uniform").threat(0)
    assert elsewhere.target_class != drawn.target_class


def test_staggered_surrogates_have_come_to_different_rates(tmp_path, monkeypatch):
    images = data.load("digits", train_size=96, validation_size=50)
    training = {"epochs": 4, "schedule": "steps", "milestones": (2, 3)}
    clean = make_clean_networks(tmp_path, images, **training)
    clean.get = lambda which: which
    brewers = []
    monkeypatch.setattr(adversaries, "Brewer", lambda *given, **more: brewers.append((given, more)))
    for staggered in (True, False):
        settings = {"surrogates": 4, "staggered": staggered}
        assert not make_adversary(
            clean, tmp_path, recipe="metapoison", recipe_settings=settings
        )._brewer
    (_, apart), (alike, same) = brewers
    assert apart["learning_rates"] == pytest.approx([0.1, 0.1, 0.01, 1e-3])
    assert same["learning_rates"] == pytest.approx([1e-3] * 4)
    assert [each.name for each in alike[1]] == [
        f"surrogate-from_scratch-none-{number}" for number in range(4)
    ]
