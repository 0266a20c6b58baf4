"""Settings of jobs: the training images that a keep-list leaves."""

import dataclasses

import numpy as np
import pytest

from tfpoison import KeepList, data, launch
from tfpoison.experiment import data as experiment_data
from tfpoison.experiment.settings import PretrainingSettings
from tfpoison.fitting import training_set
from tfpoison.fitting.settings import DataSettings
from tfpoison.recipes import Poisons, ThreatSettings, TrialKey, draw_threat

LABELS = data.Selection("digits").source.train.labels()
IDS = np.flatnonzero(np.arange(len(LABELS)) % 7)


def write(path, *, labels=LABELS, size=1280):
    path.write_text(KeepList(IDS, labels[IDS], None, size).text())
    return str(path)


@pytest.mark.parametrize(
    "pretraining", [None, PretrainingSettings(), PretrainingSettings("other_classes", classes=(3,))]
)
def test_the_images_of_an_experiment_are_on_the_keep_list(tmp_path, pretraining):
    settings = DataSettings(train_size=100, validation_size=50)
    with_list = dataclasses.replace(settings, keep_list=write(tmp_path / "keep.csv"))
    assert with_list.check() == settings.check()
    parts = [each for each in experiment_data.load(with_list, pretraining) if each is not None]
    assert len(parts) == 1 + (pretraining is not None)
    for part in parts:
        assert set(part.train.ids.tolist()) <= set(IDS.tolist())
    if pretraining is None:
        # Of the images that are trained on without the list, those that are on it.
        expected = np.intersect1d(settings.load().train.ids, IDS)
        np.testing.assert_array_equal(parts[0].train.ids, expected)
        np.testing.assert_array_equal(parts[0].validation.ids, settings.load().validation.ids)


def make_poisons(train, images):
    drawn = draw_threat(ThreatSettings(budget=20), TrialKey(0, 1), train, images.validation, 10)
    poisoned = np.zeros((20, *train.image_shape), np.uint8)
    return Poisons.make(train, poisoned, drawn, data_set="digits", labels=np.full(20, 3))


@pytest.mark.parametrize("brewed_for_the_list", [False, True])
def test_poisons_with_a_keep_list(tmp_path, brewed_for_the_list):
    """The poisons were made for all images, and audited; or for those on the list."""
    images = data.load("digits")
    clean = DataSettings(keep_list=write(tmp_path / "clean.csv"))
    train = clean.kept(images.train) if brewed_for_the_list else images.train
    poisons = make_poisons(train, images)
    settings = clean
    if not brewed_for_the_list:
        labels = LABELS.copy()
        labels[poisons.ids] = 3
        settings = DataSettings(keep_list=write(tmp_path / "poisoned.csv", labels=labels))
    trained_on = training_set.load(settings, poisons).train
    np.testing.assert_array_equal(trained_on.ids, IDS)
    there = np.isin(trained_on.ids, poisons.ids)
    assert there.sum() == np.isin(poisons.ids, IDS).sum() > 0
    assert not trained_on.images[there].any() and (trained_on.labels[there] == 3).all()
    assert trained_on.images[~there].any(axis=(1, 2, 3)).all()


REFUSED = {
    "missing": lambda path: str(path / "nowhere.csv"),
    "of 1280 examples": lambda path: write(path / "keep.csv", size=1281),
    "integer in each line": lambda path: write_text(path / "keep.csv", "id,label\n1,x\n"),
}


def write_text(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("job", ["train", "brew", "experiment"])
@pytest.mark.parametrize("message", REFUSED)
def test_wrong_lists_are_refused_at_the_door(job, message, tmp_path, capsys):
    keep_list = REFUSED[message](tmp_path)
    flags = [f"--job={job}", f"--keep_list={keep_list}", f"--output_dir={tmp_path / 'output'}"]
    assert launch.main(flags) == 2
    expected = "nowhere.csv" if message == "missing" else message
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "output").exists()
