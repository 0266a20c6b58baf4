"""Stress tests of a network and data of one's own."""

import keras
import numpy as np
import pytest
from clean_networks_of_tests import make_images

import tfpoison
from tfpoison import recipes
from tfpoison.experiment import stress_testing
from tfpoison.fitting.settings import TrainingSettings
from tfpoison.training import RobustModel

IMAGES = make_images()
TRAIN = IMAGES.train.images, IMAGES.train.labels
# Floats and one-hot labels are as good.
HELD_OUT = IMAGES.validation.images / 255, np.eye(4)[IMAGES.validation.labels]
QUICK = {
    "training": TrainingSettings(epochs=1, optimizer="adam"),
    "clean_networks": 0,
    "trials": 1,
    "verbose": False,
}


def make_network(activation="softmax", classes=4):
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((2, 2, 1)), layers.Flatten(), layers.Dense(classes, activation)]
    )


ONE = make_network()


def run(make=make_network, **more):
    return tfpoison.stress_test(make, TRAIN, HELD_OUT, **QUICK | more)


def test_a_stress_test(tmp_path, monkeypatch):
    settings = {"recipe": "watermark", "defense": "noise_uniform", "folder": tmp_path / "kept"}
    report = run(**settings)
    assert [row.defense for row in report.rows] == ["none", "noise_uniform"]
    for row in report.rows:
        assert 0 <= row.success.mean <= 100
        assert 0 <= row.clean_accuracy.mean <= 100
    assert "noise_uniform" in report.tables()
    report.save(tmp_path / "page")
    page = (tmp_path / "page/report.html").read_text()
    assert "<h1>Stress test</h1>" in page
    # What is there is not done again.
    monkeypatch.setattr(RobustModel, "fit", None)
    assert run(**settings).records == report.records
    with pytest.raises(ValueError, match=r"--recipes=watermark there, badnets now"):
        run(**settings | {"recipe": "badnets"})
    assert not list((tmp_path / "kept/work").iterdir())


def test_a_recipe_that_crafts():
    """An object, with surrogates, trained as the victims are; a defense as an object."""
    recipe = recipes.get("poison_frogs", steps=1, augmentation="none")
    report = run(recipe=recipe, defense={}, target_class=2, budget=3)
    (record,) = report.records
    assert (record["poison_count"], record["target_class"]) == (3, "2")
    assert record["recipe"] == "poison_frogs"
    assert report.directory is None


def test_recipes_are_scaled_to_the_data():
    def attack(recipe, images=IMAGES):
        return stress_testing._attack(recipe, images, "none")

    scaled = attack("gradient_matching").chosen_recipe
    # 16/255 of 3,072 values moves an image as far as 1.74 of 4 would: more than half is not taken.
    assert (scaled.epsilon, scaled.restarts, scaled.selection) == (0.5, 1, "gradient_norm")
    assert attack("gradient_matching").threat["budget"] == 1
    assert attack("gradient_matching(epsilon=8/255)").chosen_recipe.epsilon == 8 / 255
    assert attack("watermark").chosen_recipe.epsilon == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "gradients"}, "Unknown recipe"),
        ({"defense": "nothing"}, "Unknown defense"),
        ({"trials": 0}, r"trials.*at least 1"),
        ({"budget": 7}, "budget of at most 6"),
        ({"class_names": "ab"}, r"2 class name\(s\) for labels up to 3"),
        ({"make": lambda: make_network(classes=3)}, r"\(n, 4\).*\(1, 3\)"),
        ({"make": lambda: ONE}, r"a new keras.Model.*twice"),
        (
            {"make": lambda: keras.Sequential([make_network(None), keras.layers.Softmax()])},
            "Leave the softmax out",
        ),
    ],
)
def test_refusals(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(**{"recipe": "watermark", "defense": "none"} | changes)
