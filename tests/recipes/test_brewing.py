"""The library brews: every recipe, without any job."""

import functools

import keras
import numpy as np
import pytest
from data_sets import CLASSES, make_data_set, make_network

import tfpoison
from tfpoison import recipes
from tfpoison.recipes import Brewer, Poisons, TrialKey, draw_threat
from tfpoison.recipes.recipe import Crafted

DATA = make_data_set()
CHEAP = {"steps": 2, "restarts": 1, "augmentation": "none", "epsilon": 0.2}


def make(name, **settings):
    # The default wave of `sig` vanishes at the width of these images.
    known, cheap = recipes.settings(name), CHEAP | {"frequency": 1.0}
    return recipes.get(name, **{each: cheap[each] for each in cheap if each in known}, **settings)


def draw(recipe):
    return draw_threat(
        recipe.threat_settings(budget=6),
        TrialKey(0, 1),
        DATA.train,
        DATA.validation,
        CLASSES,
        gradient_norms=np.arange(DATA.train.size),
        trigger=recipe.draw_trigger if recipe.triggered else None,
        sources=4 if recipe.crafts_on_sources else 0,
    )


@functools.cache
def networks(count):
    return [make_network(number) for number in range(count)]


def brew(recipe, threat, **more):
    surrogates = networks(recipe.surrogates)
    return recipes.brew(recipe, surrogates, threat, DATA.train, DATA.validation, **more)


@pytest.mark.parametrize("name", [each for each in recipes.names() if each != "sleeper_agent"])
def test_every_recipe(name, tmp_path):
    recipe = make(name)
    threat = draw(recipe)
    poisons = brew(recipe, threat)
    np.testing.assert_array_equal(poisons.ids, threat.poison_ids)
    assert poisons.epsilon > 0
    assert poisons.settings["recipe"] == name
    assert poisons.settings.items() >= recipe.values().items()
    covers = np.isin(poisons.ids, threat.cover_ids)
    assert covers.sum() == 6 * recipe.covers
    changed = ~covers if recipe.changes_labels else np.zeros_like(covers)
    expected = np.where(changed, threat.adversarial_class, poisons.clean_labels)
    np.testing.assert_array_equal(poisons.labels, expected)
    if recipe.pastes_trigger and recipe.objective is None:
        poisoned = poisons.poisoned_images(DATA.train)
        clean = DATA.train.read(np.searchsorted(DATA.train.ids, poisons.ids))
        for some, on in ((~covers, recipe.on_poisons), (covers, recipe.on_covers)):
            expected = on(threat.trigger).put_on(clean[some], poisons.ids[some])
            np.testing.assert_array_equal(poisoned[some], expected)
    again = Poisons.load(poisons.save(tmp_path / "poisons.npz"))
    np.testing.assert_array_equal(again.perturbations, poisons.perturbations)


def test_retraining_sees_the_poisons_so_far():
    recipe, seen = make("sleeper_agent", retrainings=1), []

    def retrain(number, train):
        seen.append((number, train))
        return [make_network(7)]

    threat = draw(recipe)
    poisons = brew(recipe, threat, retrain=retrain)
    ((number, train),) = seen
    assert number == 1
    changed = (train.images != DATA.train.images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(DATA.train.ids[changed], poisons.ids)
    # An objective of its own, of a class that no table knows.
    assert brew(Crafted(**CHEAP | {"epsilon": 0.0}), draw(make("watermark"))).epsilon == 0


def test_resumption(tmp_path):
    """The poisons of a state that is finished are made at once, and with no network's help."""
    recipe, threat, state = make("gradient_matching"), draw(make("watermark")), tmp_path / "state"
    poisons = brew(recipe, threat, state_file=state, seed=3)
    assert state.exists()
    again = Brewer(recipe, [make_network(9)]).brew(
        threat, DATA.train, DATA.validation, state_file=state
    )
    np.testing.assert_array_equal(again.perturbations, poisons.perturbations)


def test_refusals():
    with pytest.raises(ValueError, match=r"without any trigger for Watermark. Received: Patch"):
        brew(make("watermark"), draw(make("badnets")))
    with pytest.raises(ValueError, match=r"with a trigger for BadNets. Received: None"):
        brew(make("badnets"), draw(make("watermark")))
    with pytest.raises(ValueError, match="at least one surrogate"):
        recipes.brew("bullseye", [], draw(make("bullseye")), DATA.train, DATA.validation)


def test_the_example(tmp_path, monkeypatch):
    """The one in the docstring runs as it stands there."""
    monkeypatch.chdir(tmp_path)
    text = recipes.brew.__doc__.partition("\n\n")[2].partition("Args:")[0]
    names = {"keras": keras, "recipes": recipes, "TrialKey": TrialKey, "tfpoison": tfpoison}
    exec(compile("if True:\n" + text, "docstring", "exec"), names)
    assert names["poisons"].size == 8
    assert 0 < names["poisons"].epsilon <= 64 / 255
    assert (names["poisoned"].images != names["images"].train.images).any()
