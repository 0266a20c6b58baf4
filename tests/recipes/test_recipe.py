"""The table of recipes, and what the adversary's target losses say."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import recipes
from tfpoison.recipes import table, target_loss


def test_the_table():
    assert recipes.names() == [
        "gradient_matching",
        "gradient_matching_fast",
        "gradient_matching_se",
        "metapoison",
        "poison_frogs",
        "bullseye",
        "convex_polytope",
        "hidden_trigger",
        "sleeper_agent",
        "backdoor_patch",
        "badnets",
        "blended",
        "sig",
        "wanet",
        "label_consistent",
        "narcissus",
        "adaptive_blend",
        "adaptive_patch",
        "watermark",
    ]


@pytest.mark.parametrize("name", recipes.names())
def test_settings(name):
    known = recipes.settings(name)
    recipe = recipes.get(name)
    assert known.items() <= recipe.values().items()
    optimised = recipe.objective is not None
    assert ("steps" in known) == optimised == (recipe.surrogates > 0)
    loses = optimised and recipe.objective.needs_targets and not recipe.objective.needs_features
    assert ("target_loss" in known) == loses
    assert table.name_of(recipe) == name
    for setting, value in recipes.get("gradient_matching").values().items():
        if setting in known:
            assert recipes.get(name, **{setting: known[setting]}) == recipe
        else:
            with pytest.raises(ValueError, match=f"setting of the recipe '{name}'"):
                recipes.get(name, **{setting: value})


def test_the_papers_settings():
    settings = recipes.settings("gradient_matching")
    assert (settings["steps"], settings["restarts"], settings["epsilon"]) == (250, 8, 16 / 255)
    assert settings["augmentation"] == "shift_flip"


def test_unknown_names():
    with pytest.raises(ValueError, match="Did you mean 'bullseye'"):
        recipes.get("bullseyes")
    with pytest.raises(ValueError, match="carlini_wagner"):
        target_loss.get("hinge")


def test_carlini_wagner():
    logits = tf.constant([[1.0, 5.0, 2.0], [4.0, 0.0, -200.0], [0.0, 3.0, 1.0]])
    labels = tf.constant([2, 1, 1])
    # 5 - 2; 4 - 0; the fake label leads already.
    np.testing.assert_allclose(target_loss.CarliniWagner().call(labels, logits), [3, 4, 0])
    assert target_loss.get("carlini_wagner").get_config()["margin"] == 100
    assert target_loss.get("cross_entropy") is None
    assert target_loss.TARGET_LOSSES == ("cross_entropy", "carlini_wagner")
