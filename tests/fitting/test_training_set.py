"""What a defense leaves of the training set, and trainings that are interrupted around it."""

import contextlib
import dataclasses

import keras
import numpy as np
import pytest
from examples_on_disk import put_on_disk

from tfpoison import data, defenses, files
from tfpoison.data import InMemoryExamples
from tfpoison.defenses import Defense
from tfpoison.defenses.filters import Evidence, Filter, Isolation, Suspicion
from tfpoison.defenses.filters.base import largest
from tfpoison.defenses.revisions.base import Revised, Revision
from tfpoison.evaluation import Predictor
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import Trainer, network_maker
from tfpoison.fitting.training_set import TrainingSet
from tfpoison.runs.checkpoint import METRICS, Checkpoint
from tfpoison.runs.run_directory import RunDirectory

IMAGES = data.load("digits", train_size=300, validation_size=50)
EPOCHS = 4


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class SuspectNines(Filter):
    """Suspects every nine, whatever its features."""

    def _inspect(self, features, labels, seed):
        return Suspicion(labels.astype("float64"), labels == 9)


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class SuspectBright(Filter):
    """Suspects the 30 brightest images."""

    @property
    def evidence(self):
        return Evidence("images")

    def _inspect(self, features, labels, seed):
        brightness = features.mean(axis=(1, 2, 3), dtype="float64")
        return Suspicion(brightness, largest(brightness, 30 / len(labels)))


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class DropZerosAndDim(Revision):
    """After the first epoch drops zeros, after the third dims what is left."""

    def _epochs(self, total):
        return (1, 3)

    def _revise(self, network, images, labels, seed):
        dims = images.max() > 8
        return Revised(labels != 0, images // 2 if dims else images)


@keras.saving.register_keras_serializable("tests")
@dataclasses.dataclass(frozen=True)
class SuspectAll(SuspectNines):
    """Suspects everything."""

    def _inspect(self, features, labels, seed):
        return Suspicion(labels.astype("float64"), labels >= 0)


def make_trainer(defense, epochs=EPOCHS):
    return Trainer(
        network_maker(NetworkSettings("mlp", width=8), IMAGES),
        IMAGES.classes,
        DataSettings(batch_size=64),
        TrainingSettings(epochs=epochs),
        defense,
    )


class StopError(Exception):
    pass


def train(defense, folder, *, seconds=0.0, stop_after=None):
    looks = []

    def watch(predictor):
        looks.append(predictor)
        if len(looks) == stop_after:
            raise StopError
        return {}

    checkpoint = Checkpoint(RunDirectory(folder, {}).folder("run"), seconds=seconds)
    predictor, left = make_trainer(defense).train(IMAGES.train, 1, checkpoint, watch=watch)
    return predictor.network.get_weights(), left.kept


def is_same(ours, theirs):
    return all((one == other).all() for one, other in zip(ours, theirs, strict=True))


def test_suspects_are_removed(tmp_path):
    weights, kept = train(Defense(filters=(SuspectNines(),)), tmp_path / "filtered")
    assert (IMAGES.train.labels[kept] != 9).all()
    assert len(kept) == (IMAGES.train.labels != 9).sum()
    # What the filter made of them is remembered with what is left.
    (file,) = (tmp_path / "filtered").rglob("without_suspects.npz")
    with np.load(file) as arrays:
        np.testing.assert_array_equal(arrays["scores"], IMAGES.train.labels)
    plain, everything = train(Defense(), tmp_path / "plain")
    assert len(everything) == IMAGES.train.size
    assert not is_same(weights, plain)


def test_what_any_filter_suspects_is_removed(tmp_path):
    trainer = make_trainer(Defense((SuspectNines(), SuspectBright())), epochs=1)
    checkpoint = Checkpoint(RunDirectory(tmp_path, {}), seconds=0)
    _, left = trainer.train(IMAGES.train, 1, checkpoint)
    labels, images = IMAGES.train.labels, IMAGES.train.read(np.arange(IMAGES.train.size))
    brightness = (images / np.float32(255)).mean(axis=(1, 2, 3), dtype="float64")
    is_bright = np.argsort(np.argsort(brightness, kind="stable")) >= 270
    assert (is_bright & (labels == 9)).any()
    np.testing.assert_array_equal(left.kept, np.flatnonzero((labels != 9) & ~is_bright))
    shares = [[(all_of < each).mean() for each in all_of] for all_of in (labels, brightness)]
    np.testing.assert_array_equal(left.scores, np.max(shares, axis=0))
    names = sorted(path.name for path in tmp_path.rglob("without_suspects*"))
    assert names == ["without_suspects.npz", "without_suspects_2.npz"]


def test_suspects_are_unlearned_once_however_often_a_training_is_gone_on_with(
    tmp_path, monkeypatch
):
    isolation = Isolation(share=0.1, networks=2, unlearning_rate=0.1)
    trainer, finish, learned = (
        make_trainer(Defense(filters=(isolation,)), epochs=2),
        Isolation.finish,
        [],
    )

    def spy(self, network, kept, suspects, seed):
        assert (kept.size, suspects.size) == (270, 30)
        learned.append(network.get_weights())
        finish(self, network, kept, suspects, seed)

    monkeypatch.setattr(Isolation, "finish", spy)
    unlearned = []
    for _ in range(2):
        checkpoint = Checkpoint(RunDirectory(tmp_path, {}), seconds=0)
        predictor, left = trainer.train(IMAGES.train, 1, checkpoint)
        assert len(left.kept) == 270
        unlearned.append(predictor.network.get_weights())
    assert is_same(learned[0], learned[1]) and is_same(unlearned[0], unlearned[1])
    assert not is_same(learned[0], unlearned[0])


def test_the_training_set_is_revised(tmp_path):
    weights, kept = train(Defense(revision=DropZerosAndDim()), tmp_path / "revised")
    assert (IMAGES.train.labels[kept] != 0).all()
    assert len(kept) == (IMAGES.train.labels != 0).sum()
    assert not is_same(weights, train(Defense(), tmp_path / "plain")[0])


DEFENSES = {
    "friendly_noise, cutmix": defenses.from_text("friendly_noise(epoch=1;steps=1)+cutmix"),
    "filters, evasion, epic, mixup, gradient_shaping": Defense(
        (SuspectNines(), SuspectBright())
    ).combine(
        defenses.from_text(
            "evasion(steps=1)+epic(share=0.3;first_epoch=1;last_epoch=2)+mixup+gradient_shaping"
        )
    ),
}


@pytest.mark.parametrize("name", DEFENSES)
def test_killed_after_every_write(name, tmp_path, monkeypatch):
    """Killed and gone on with, batch by batch, it ends with the bits and metrics of one run."""
    trainer = make_trainer(DEFENSES[name], epochs=3)
    examples = IMAGES.train.select(np.arange(100))

    def run(folder):
        checkpoint = Checkpoint(RunDirectory(folder, {}), seconds=1e-9)
        predictor, left = trainer.train(examples, 1, checkpoint)
        return predictor.network.get_weights(), left.kept, checkpoint.rows

    weights, kept, rows = run(RunDirectory(tmp_path, {}).folder("at once").path)
    write, kills = files.write_whole, []

    def killing_write(path, content):
        write(path, content)
        # Every process that goes on writes the metrics anew; the filter's network is trained plain.
        if path.name != METRICS and path.parent.name != "plain":
            kills.append(path.name)
            raise StopError
        return path

    monkeypatch.setattr(files, "write_whole", killing_write)
    resumed = None
    while resumed is None:
        with contextlib.suppress(StopError):
            resumed = run(RunDirectory(tmp_path, {}).folder("killed").path)
    assert len(kills) >= 6
    assert is_same(resumed[0], weights)
    np.testing.assert_array_equal(resumed[1], kept)
    assert resumed[2] == rows


@pytest.mark.parametrize(
    "defense",
    [Defense(), Defense(filters=(SuspectNines(),)), Defense(revision=DropZerosAndDim())],
    ids=["none", "filter", "revision"],
)
def test_a_training_whose_result_was_lost(defense, tmp_path):
    """Killed after the last epoch's checkpoint: the trained network, not a fresh one."""
    expected, _ = train(defense, tmp_path)
    again, _ = train(defense, tmp_path)
    assert is_same(again, expected)


def test_a_revision_that_was_lost(tmp_path):
    """Killed after the epoch before a revision."""
    defense = Defense(revision=DropZerosAndDim())
    expected, _ = train(defense, tmp_path / "at once")
    with pytest.raises(StopError):
        train(defense, tmp_path / "killed", stop_after=2)
    (tmp_path / "killed" / "run" / "revised_after_1.npz").unlink()
    resumed, _ = train(defense, tmp_path / "killed")
    assert is_same(resumed, expected)
    # From the end there is no way back to what the first revision looked at.
    (tmp_path / "killed" / "run" / "revised_after_1.npz").unlink()
    with pytest.raises(ValueError, match="Put it back"):
        train(defense, tmp_path / "killed")


def test_everything_is_suspected(tmp_path):
    with pytest.raises(ValueError, match="all are suspects"):
        train(Defense(filters=(SuspectAll(),)), tmp_path)


NETWORK = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])


class DropSome(DropZerosAndDim):
    """Drops examples by their labels and leaves images as they are."""

    def _revise(self, network, images, labels, seed):
        return Revised(~np.isin(labels, [2, 5, 7]), images)


def test_examples_keep_their_number(tmp_path):
    examples = InMemoryExamples(
        np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8),
        np.arange(10),
    )
    left = TrainingSet(examples, Defense(revision=DropSome()), RunDirectory(tmp_path, {}), 0)
    assert left.current is examples
    left.revise(NETWORK, 1, again=False)
    filled = left.current
    assert filled.size == 10
    assert set(filled.ids) == set(range(10)) - {2, 5, 7}
    np.testing.assert_array_equal(filled.labels, filled.ids)
    np.testing.assert_array_equal(filled.images[:, 0, 0, 0], filled.ids)
    np.testing.assert_array_equal(filled.ids, left.current.ids)


def test_suspects_on_disk_are_removed(tmp_path):
    predictor = Predictor(make_trainer(Defense()).fresh_network(0))

    def without_suspects(examples, folder):
        directory = RunDirectory(tmp_path, {}).folder(folder)
        left = TrainingSet(examples, Defense(filters=(SuspectNines(),)), directory, 1)
        left.remove_suspects(lambda _: predictor.features(examples))
        return left

    examples = put_on_disk(IMAGES.train)
    left = without_suspects(examples, "on disk")
    np.testing.assert_array_equal(left.kept, np.flatnonzero(examples.labels != 9))
    assert not left.current.in_memory
    in_memory = without_suspects(IMAGES.train, "in memory")
    np.testing.assert_array_equal(left.current.ids, in_memory.current.ids)


def test_images_on_disk_are_not_revised(tmp_path):
    examples = put_on_disk(IMAGES.train)
    defense = Defense(filters=(SuspectNines(),), revision=DropZerosAndDim())
    checkpoint = Checkpoint(RunDirectory(tmp_path, {}), seconds=0)
    with pytest.raises(ValueError, match="up to 2 GiB for a defense that revises"):
        make_trainer(defense).train(examples, 1, checkpoint)


class DropZerosOfSevens(DropZerosAndDim):
    """Drops zeros and makes all pixels 7."""

    def _revise(self, network, images, labels, seed):
        return Revised(labels != 0, np.full_like(images, 7))


def test_changed_images_are_kept_and_saved(tmp_path):
    examples = InMemoryExamples(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4))

    def revised(epoch, **settings):
        defense = Defense(revision=DropZerosOfSevens())
        left = TrainingSet(examples, defense, RunDirectory(tmp_path, {}), 0)
        left.revise(NETWORK, epoch, **settings)
        return left

    revised(1, again=False)
    loaded = revised(1, again=True)
    assert (loaded.current.images == 7).all()
    assert set(loaded.current.ids) == {1, 2, 3}
    with pytest.raises(ValueError, match="Put it back"):
        revised(2, again=True)
