"""Victims: what they are trained on and start from."""

import types

import numpy as np
import pytest
from clean_networks_of_tests import make_clean_networks, make_images, make_reader
from examples_on_disk import put_data_set_on_disk
from test_adversary import make_adversary

from tfpoison.experiment.victim import Victim, _removal, measure_victim
from tfpoison.runs.run_directory import RunDirectory


def measure(victim, clean, poisons, folder):
    work = RunDirectory(folder, {}).folder("work")
    measured = measure_victim(victim, clean, poisons, work, checkpoint_seconds=60)
    assert list(measured) == [victim.defense]
    return measured[victim.defense]


def test_images_on_disk_stay_there(tmp_path):
    clean = make_clean_networks(tmp_path, put_data_set_on_disk(make_images()))
    clean.train_missing = lambda wanted: None
    clean.get = lambda which: make_reader()
    adversary = make_adversary(clean, tmp_path, recipe_settings={"selection": "gradient_norm"})
    victim = Victim("watermark", "from_scratch", "standard", "none", trial=0, victim=0)
    (measures,) = measure(victim, clean, [adversary.poisons(0)], tmp_path)
    assert 0 <= measures["clean_accuracy"] <= 1


@pytest.mark.parametrize("defense", ["none", "noise_uniform"])
def test_victims_start_from_the_features_of_their_column_and_see_the_poisons(defense, tmp_path):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, images, defended=True)
    poisons = make_adversary(clean, tmp_path, clean_networks=0).poisons(0)
    trainer = clean.setup.trainer("transfer", defense)
    train, calls = trainer.train, []

    def record(examples, seed, checkpoint, **more):
        calls.append((examples.images, seed, more["pretrained"]))
        return train(examples, seed, checkpoint, **more)

    trainer.train = record
    pretrained = clean.pretrained("transfer", defense)
    victim = Victim("watermark", "transfer", "standard", defense, trial=2, victim=1)
    measure(victim, clean, [poisons], tmp_path)
    ((seen, seed, start),) = calls
    assert start is pretrained
    # Whatever the column.
    assert seed == clean.setup.seed_of("victim", 2, 1)
    changed = (seen != images.train.images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(images.train.ids[changed], poisons.ids)


def test_each_adversary_of_a_training_is_measured_by_its_own_targets_and_class(tmp_path):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, learning_rate=1e-9)
    # A network that reads images calls targets what they are.
    clean.setup.make_network = lambda seed: make_reader()
    clean.train_missing, clean.get = (lambda wanted: None), lambda which: make_reader()
    adversary = make_adversary(clean, tmp_path, count=2)
    both = [adversary.poisons(0), adversary.poisons(0, 1)]
    assert not set(both[0].ids) & set(both[1].ids)
    victim = Victim("watermark", "from_scratch", "standard", "none", trial=0, victim=0)
    measures = measure(victim, clean, both, tmp_path)
    for each, poisons in zip(measures, both, strict=True):
        target = poisons.threat.target_images(images.validation).reshape(1, 4) / 255
        powers = np.exp(target[0])
        expected = powers[poisons.threat.adversarial_class] / powers.sum()
        assert each["target_confidence"] == pytest.approx(expected, abs=1e-4)
        assert each["confidence_by_epoch"] == [pytest.approx(expected, abs=1e-4)]
        assert each["true_confidence"] == pytest.approx(powers.max() / powers.sum(), abs=1e-4)
        assert each["seconds"]["training"] > 0


def test_what_a_defense_finds_of_one_adversary():
    """Six images; 2 and 4 are his poisons, 5 is his cover, 1 is another's."""
    train = types.SimpleNamespace(ids=np.arange(0, 60, 10), size=6)

    def poisons(ids, covers=()):
        threat = types.SimpleNamespace(is_cover=np.isin(ids, covers))
        return types.SimpleNamespace(ids=np.array(ids), threat=threat)

    ours, theirs = poisons([20, 40, 50], [50]), poisons([10])
    scores = np.array([0.5, 9.0, 0.8, 0.1, 0.3, 9.0])
    # Clean are 0 and 3. Of the pairs (2, 0), (2, 3), (4, 0), (4, 3) all but the third are in order.
    left = types.SimpleNamespace(kept=np.array([3, 4]), scores=scores)
    assert _removal(train, left, ours, [ours, theirs]) == {
        "removed_share": pytest.approx(4 / 6),
        "removed_poisons": 0.5,
        "removed_clean": 0.5,
        "detection_auc": 0.75,
    }
    left.scores = None
    assert "detection_auc" not in _removal(train, left, ours, [ours, theirs])
