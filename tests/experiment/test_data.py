"""The images of an experiment and of its pretraining: apart, and with the right labels."""

import dataclasses

import numpy as np
import pytest

from tfpoison import data
from tfpoison.experiment import data as experiment_data
from tfpoison.experiment.settings import PretrainingSettings
from tfpoison.fitting.settings import DataSettings
from tfpoison.recipes import ThreatSettings

SETTINGS = DataSettings("digits", train_size=300, validation_size=100, balanced=True)


def test_without_pretraining():
    images, others = experiment_data.load(SETTINGS, None)
    assert others is None
    assert (images.train.size, images.validation.size) == (300, 100)


@pytest.mark.parametrize(
    "pretraining",
    [
        None,
        PretrainingSettings("other_images", size=200),
        PretrainingSettings("other_classes", classes=(3,), size=50),
    ],
    ids=["none", "other_images", "other_classes"],
)
def test_images_that_are_named_are_there(pretraining):
    drawn, _ = experiment_data.load(SETTINGS, pretraining)
    everything = data.load("digits")
    named = {}
    for name, part in (("train", drawn.train), ("validation", drawn.validation)):
        whole = getattr(everything, name)
        left_out = np.setdiff1d(whole.ids[whole.labels != 3], part.ids)
        named[f"{name}_ids"] = (int(left_out[7]),)
    images, others = experiment_data.load(dataclasses.replace(SETTINGS, **named), pretraining)
    for name, part in (("train", images.train), ("validation", images.validation)):
        assert part.size == getattr(drawn, name).size
        assert set(named[f"{name}_ids"]) <= set(part.ids)
    assert others is None or not set(named["train_ids"]) & set(others.train.ids)


@pytest.mark.parametrize("size", [None, 500])
def test_other_images(size):
    pretraining = PretrainingSettings("other_images", size=size)
    images, others = experiment_data.load(SETTINGS, pretraining)
    assert (images.train.size, images.validation.size) == (300, 100)
    assert np.bincount(images.train.labels).tolist() == [30] * 10
    assert others.train.size == (size or 980)
    assert not set(images.train.ids) & set(others.train.ids)
    # An experiment may add a scenario with a pretraining: its images stay what they are.
    plain, _ = experiment_data.load(SETTINGS, None)
    for ours, theirs in [(images.train, plain.train), (images.validation, plain.validation)]:
        np.testing.assert_array_equal(ours.ids, theirs.ids)
    assert experiment_data.check(SETTINGS, pretraining).train_size >= 300


def test_other_classes():
    pretraining = PretrainingSettings("other_classes", classes=(1, 3, 5), size=200)
    images, others = experiment_data.load(SETTINGS, pretraining)
    assert images.class_names == ("0", "2", "4", "6", "7", "8", "9")
    assert others.class_names == ("1", "3", "5")
    assert experiment_data.check(SETTINGS, pretraining).class_names == images.class_names
    assert (images.train.size, others.train.size) == (300, 200)
    whole, _ = experiment_data.load(DataSettings("digits"), None)
    for part in (images, others):
        positions = np.searchsorted(whole.train.ids, part.train.ids)
        names = [whole.class_names[label] for label in whole.train.labels[positions]]
        assert [part.class_names[label] for label in part.train.labels] == names
        np.testing.assert_array_equal(part.train.images, whole.train.images[positions])


def test_other_classes_need_no_held_out_images():
    """A class has about 52 held-out images: fewer than the experiment validates on."""
    settings = DataSettings("digits", train_size=300, validation_size=200, balanced=True)
    pretraining = PretrainingSettings("other_classes", classes=(9,), size=50)
    images, others = experiment_data.load(settings, pretraining)
    assert (images.train.size, images.validation.size, others.train.size) == (300, 200, 50)
    assert others.validation.size == np.sum(data.load("digits").validation.labels == 9) < 200


CHOSEN = ([173, 294, 735, 750, 831, 859, 925], [815, 846, 1089, 1169, 1247, 1250])


def test_other_classes_are_chosen_as_ever():
    """The images that features were pretrained on in the first version."""
    pretraining = PretrainingSettings("other_classes", classes=(1, 3, 5), size=6)
    images, others = experiment_data.load(dataclasses.replace(SETTINGS, train_size=7), pretraining)
    assert (images.train.ids.tolist(), others.train.ids.tolist()) == CHOSEN


@pytest.mark.parametrize("name", ["target_class", "adversarial_class"])
def test_classes_have_other_numbers_beside_other_classes(name):
    pretraining = PretrainingSettings("other_classes", classes=(1, 3, 5))
    threat = ThreatSettings(**{name: 4})
    with pytest.raises(ValueError, match=f"{name}=4.*target_ids, poison_ids"):
        experiment_data.check_threat(threat, pretraining)
    experiment_data.check_threat(ThreatSettings(target_ids=(4,), poison_ids=(7,)), pretraining)
    for other in (None, PretrainingSettings("other_images")):
        experiment_data.check_threat(threat, other)


def test_another_data_set():
    pretraining = PretrainingSettings("data_set", dataset="digits", size=400)
    images, others = experiment_data.load(SETTINGS, pretraining)
    assert (images.train.size, others.train.size) == (300, 400)


# Without reading, the images asked for are counted together.
TOO_MANY = "at most 1280, the number of examples.*Received: train_size=1281"
CLASSES = "classes from 0 to 9 for the pretraining, each once, that leave two or more"


@pytest.mark.parametrize(
    ("settings", "pretraining", "checked", "loaded"),
    [
        (
            {"train_size": None},
            {"source": "other_images"},
            "leaves other images of the split.*train_size=None",
            "leaves other images of the split.*train_size=None",
        ),
        (
            {"train_size": 1280, "balanced": False},
            {"source": "other_images"},
            TOO_MANY,
            "leaves other images of the split.*has 1280. Received: train_size=1280",
        ),
        (
            {},
            {"source": "other_images", "size": 981},
            TOO_MANY,
            "pretraining_size of at most 980.*Received: 981",
        ),
        ({}, {"source": "other_classes", "classes": tuple(range(9))}, CLASSES, CLASSES),
        (
            {},
            {"source": "other_classes", "classes": (12,)},
            rf"{CLASSES}.*Received: \[12\]",
            rf"{CLASSES}.*Received: \[12\]",
        ),
        (
            {},
            {"source": "other_classes", "classes": (1, 1)},
            rf"{CLASSES}.*Received: \[1, 1\]",
            rf"{CLASSES}.*Received: \[1, 1\]",
        ),
    ],
)
def test_refusals(settings, pretraining, checked, loaded):
    settings = DataSettings(**({"dataset": "digits", "train_size": 300} | settings))
    pretraining = PretrainingSettings(**pretraining)
    with pytest.raises(ValueError, match=checked):
        experiment_data.check(settings, pretraining)
    with pytest.raises(ValueError, match=loaded):
        experiment_data.load(settings, pretraining)
