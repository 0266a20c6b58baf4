"""Victims: trained one after the other by one model, they end as if each had its own."""

import dataclasses

import numpy as np
import pytest

from tfpoison import data, defenses
from tfpoison.defenses.filters import Evidence
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import Trainer, load_weights, network_maker, save_weights
from tfpoison.recipes import scenario
from tfpoison.runs.checkpoint import FILE, Checkpoint
from tfpoison.runs.run_directory import RunDirectory

IMAGES = data.load("digits", train_size=96, validation_size=50)
DEFENDED = defenses.get("noise_uniform")


def make_trainer(defense=DEFENDED, start="from_scratch", **training):
    return Trainer(
        network_maker(NetworkSettings("mlp", width=8), IMAGES),
        IMAGES.classes,
        DataSettings(batch_size=32, augmentation="shift"),
        TrainingSettings(**({"epochs": 3, "momentum": 0.9, "weight_decay": 1e-3} | training)),
        defense,
        scenario.get(start),
    )


def train(trainer, seed, directory, *, seconds=0.0, **more):
    checkpoint = Checkpoint(RunDirectory(directory, {}), seconds=seconds, every_epoch=False)
    predictor, _ = trainer.train(IMAGES.train, seed, checkpoint, **more)
    return predictor.network.get_weights(), checkpoint


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def differ(ours, theirs):
    return any((one != other).any() for one, other in zip(ours, theirs, strict=True))


def test_one_model_for_many_trainings(tmp_path):
    trainer = make_trainer()
    first, _ = train(trainer, 1, tmp_path)
    second, _ = train(trainer, 2, tmp_path)
    again, _ = train(trainer, 1, tmp_path)
    own, _ = train(make_trainer(), 2, tmp_path)
    assert_same(first, again)
    assert_same(second, own)
    assert differ(first, second)
    plain, _ = train(make_trainer(defenses.Defense()), 1, tmp_path)
    assert differ(plain, first)


def test_victims_draw_apart(tmp_path):
    """What is crafted, and the gradient's noise, whatever the seeds have in common."""
    trainer = make_trainer(defenses.from_text("noise_uniform+gradient_shaping"), epochs=1)
    images, labels = np.full((4, 8, 8, 1), 0.5, "float32"), np.zeros(4, int)
    crafted, first_steps = [], set()
    seeds = (1, 1 + 2**11, 1 + 2**20, 2**31 - 1)
    for seed in seeds:
        train(trainer, seed, tmp_path)
        crafted.append(trainer._model.craft(images, labels).poisoned.numpy().tobytes())
        first_steps.add(int(trainer._model.optimizer._first_step))
    assert len(set(crafted)) == len(first_steps) == len(seeds)


def test_a_training_stopped_early(tmp_path):
    trainer = make_trainer()
    early, checkpoint = train(trainer, 1, tmp_path, until_epoch=1)
    assert [row["epoch"] for row in checkpoint.rows] == [1]
    assert differ(early, train(trainer, 1, tmp_path)[0])


class StopError(Exception):
    pass


def test_an_interrupted_training(tmp_path):
    """What was watched in the epochs before comes back too."""
    calls = []

    def watch(predictor):
        calls.append(1)
        if len(calls) == 2:
            raise StopError
        return look(predictor)

    def look(predictor):
        return {"watched": float(predictor.probabilities(IMAGES.validation.images)[:, 3].mean())}

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, expected = train(make_trainer(), 1, tmp_path / "a", watch=look)
    with pytest.raises(StopError):
        train(make_trainer(), 1, tmp_path / "b", seconds=1e-6, watch=watch)
    assert (tmp_path / "b" / FILE).exists()
    resumed, checkpoint = train(make_trainer(), 1, tmp_path / "b", seconds=1e-6, watch=watch)
    assert_same(resumed, whole)
    assert [row["watched"] for row in checkpoint.rows] == [row["watched"] for row in expected.rows]


def test_transfer_trains_the_last_layer_alone(tmp_path):
    pretrained = make_trainer().fresh_network(5)
    trainer = make_trainer(start="transfer")
    for seed in (1, 2):
        weights, _ = train(trainer, seed, tmp_path, pretrained=pretrained)
        assert_same(weights[:-2], pretrained.get_weights()[:-2])
        assert differ(weights[-2:], trainer.fresh_network(seed, pretrained).get_weights()[-2:])


def test_fine_tuning_starts_from_all_weights_at_its_rate(tmp_path):
    pretrained = make_trainer().fresh_network(5)
    trainer = make_trainer(start="fine_tuning")
    assert trainer.last_learning_rate(IMAGES.train, 3) == pytest.approx(1e-4)
    weights, _ = train(trainer, 1, tmp_path, pretrained=pretrained)
    assert differ(weights, pretrained.get_weights())
    for ours, theirs in zip(weights[:2], pretrained.get_weights()[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_weights_in_files(tmp_path):
    directory = RunDirectory(tmp_path, {})
    weights = make_trainer().fresh_network(1).get_weights()
    assert load_weights(directory, "network.npz") is None
    save_weights(directory, "network.npz", weights)
    assert_same(load_weights(directory, "network.npz"), weights)


def test_the_seed_of_the_settings_is_not_that_of_a_training(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    ours, _ = train(make_trainer(seed=9), 4, tmp_path / "a")
    assert_same(ours, train(make_trainer(seed=4), 4, tmp_path / "b")[0])


def test_what_filters_are_told_of_repaired_networks(tmp_path):
    """Before the repair and after each, by the network that is asked for its features too."""
    trainer, examples = make_trainer(epochs=2), IMAGES.train
    directory = RunDirectory(tmp_path, {})

    def ask(evidence, of=trainer):
        return of.ask(evidence, examples, 1, Checkpoint(directory, seconds=60).inner)

    evidence = Evidence("margins", repair="fine_tuning_sam", repairs=2, repair_images=40)
    margins = ask(evidence)
    assert margins.shape == (96, 3)
    np.testing.assert_array_equal(margins[:, :1], ask(Evidence("margins")))
    np.testing.assert_array_equal(margins, ask(evidence, make_trainer(epochs=2)))
    losses = np.log1p(np.exp(-margins[:, :1]))
    np.testing.assert_allclose(ask(Evidence("losses")), losses, rtol=1e-5)
    # Each repair has examples of its own, and changes no more than its copy.
    assert (margins[:, 1:] != margins[:, :1]).all() and (margins[:, 1] != margins[:, 2]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
    with pytest.raises(AssertionError, match="make another"):
        once = Checkpoint(directory, seconds=60)
        [trainer.train(examples, 1, once) for _ in range(2)]
    everything = dataclasses.replace(evidence, repair_images=500)
    assert ask(everything).shape == (96, 3)


def test_a_filter_of_images_has_no_network_trained(tmp_path):
    images = make_trainer().ask(
        Evidence("images", side=4),
        IMAGES.train,
        1,
        Checkpoint(RunDirectory(tmp_path, {}), seconds=60).inner,
    )
    blocks = IMAGES.train.images.reshape(96, 4, 2, 4, 2, 1).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(images, blocks, rtol=1e-5)
    assert not list(tmp_path.iterdir())
