"""A trial: who can be a target, and what victims are trained on and start from."""

import numpy as np
import pytest
from clean_networks_of_tests import make_clean_networks, make_images, make_reader
from examples_on_disk import put_data_set_on_disk

from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.trial import Adversary, measure_victim
from tfpoison.recipes.crafting import Crafter
from tfpoison.runs.run_directory import RunDirectory

MISSED = 2


def make_adversary(clean, directory, defense="none", recipe="watermark", **settings):
    return Adversary(
        AttackSettings(recipe, threat={"budget": 2}, **settings),
        clean,
        defense=defense,
        directory=RunDirectory(directory, {}),
        seed=0,
        checkpoint_seconds=60,
    )


def target_classes(directory, who, **settings):
    """The classes of the targets of many trials where one kind of networks misses a class."""
    clean = make_clean_networks(directory, make_images())

    def surrogates(scenario, defense, count, **more):
        return [make_reader(MISSED if who == "surrogates" else None)] * count

    def clean_victims(scenario, defense, count):
        return [make_reader(MISSED if who == defense else None)] * count

    clean.surrogates, clean.clean_victims = surrogates, clean_victims
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
    clean.train_missing = lambda *which, **how: None

    def craft(self, task, **more):
        calls.append((task.seed, task.targets))
        return task.images, []

    monkeypatch.setattr(Crafter, "craft", craft)
    surrogates = [make_reader()]
    clean.surrogates = lambda scenario, defense, count, **more: surrogates[:count]
    for defense in ("none", "noise_uniform"):
        adversary = make_adversary(
            clean, tmp_path, defense, recipe="gradient_matching", clean_networks=0
        )
        for trial in range(3):
            threat = adversary.poisons(trial).threat
            np.testing.assert_array_equal(calls[-1][1], images.validation.images[threat.target_ids])
    assert len({seed for seed, _ in calls}) == len(calls) == 6


def test_success_without_poisons_is_that_of_the_column(tmp_path):
    clean = make_clean_networks(tmp_path, make_images())
    adversary = make_adversary(clean, tmp_path, clean_networks=0)
    poisons = adversary.poisons(0)
    misled = make_reader()
    misled.set_weights([np.zeros((4, 4)), np.eye(4)[poisons.threat.adversarial_class]])
    columns = {"none": [make_reader()], "noise_uniform": [misled, misled, make_reader()]}
    clean.clean_victims = lambda scenario, defense, count: columns[defense]
    assert adversary.success_without_poisons(poisons, "none") == 0
    assert adversary.success_without_poisons(poisons, "noise_uniform") == pytest.approx(2 / 3)


def test_a_threat_is_drawn_once_for_all_columns(tmp_path):
    """Whatever the networks classify rightly by the time that an adversary joins the grid."""
    clean = make_clean_networks(tmp_path / "networks", make_images())
    clean.surrogates = lambda scenario, defense, count, **more: [make_reader()] * count
    clean.train_missing = lambda *which, **how: None
    clean.clean_victims = lambda scenario, defense, count: [make_reader()] * count
    drawn = make_adversary(clean, tmp_path).poisons(0).threat
    missing = make_reader(never=drawn.target_class)
    clean.clean_victims = lambda scenario, defense, count: [missing] * count
    later = make_adversary(clean, tmp_path, "noise_uniform").threat(0)
    np.testing.assert_array_equal(later.target_ids, drawn.target_ids)
    np.testing.assert_array_equal(later.poison_ids, drawn.poison_ids)
    assert later.adversarial_class == drawn.adversarial_class
    # Nothing is known of it elsewhere.
    elsewhere = make_adversary(clean, tmp_path / "elsewhere", "noise_uniform").threat(0)
    assert elsewhere.target_class != drawn.target_class


def test_images_on_disk_stay_there(tmp_path):
    clean = make_clean_networks(tmp_path, put_data_set_on_disk(make_images()))
    clean.surrogates = lambda scenario, defense, count, **more: [make_reader()] * count
    clean.train_missing = lambda *which, **how: None
    clean.clean_victims = lambda scenario, defense, count: [make_reader()] * count
    adversary = make_adversary(clean, tmp_path, recipe_settings={"selection": "gradient_norm"})
    measures = measure_victim(
        clean,
        adversary.poisons(0),
        RunDirectory(tmp_path, {}).folder("work"),
        scenario="from_scratch",
        defense="none",
        seed=5,
        checkpoint_seconds=60,
    )
    assert 0 <= measures["clean_accuracy"] <= 1


@pytest.mark.parametrize("defense", ["none", "noise_uniform"])
def test_victims_start_from_the_features_of_their_column_and_see_the_poisons(defense, tmp_path):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, images, defended=True)
    poisons = make_adversary(clean, tmp_path, clean_networks=0).poisons(0)
    trainer = clean.trainer("transfer", defense)
    train, calls = trainer.train, []

    def record(examples, seed, checkpoint, **more):
        calls.append((examples.images, seed, more["pretrained"]))
        return train(examples, seed, checkpoint, **more)

    trainer.train = record
    pretrained = clean.pretrained("transfer", defense)
    measure_victim(
        clean,
        poisons,
        RunDirectory(tmp_path, {}).folder("work"),
        scenario="transfer",
        defense=defense,
        seed=5,
        checkpoint_seconds=60,
    )
    ((seen, seed, start),) = calls
    assert start is pretrained
    assert seed == 5
    changed = (seen != images.train.images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(images.train.ids[changed], poisons.ids)
