"""Published backdoors: what they draw, and what poisons, covers and targets carry."""

import keras
import numpy as np
import pytest
from data_sets import CLASSES, SHAPE, make_data_set

from tfpoison import recipes
from tfpoison.perturbations.overlay import Overlay
from tfpoison.perturbations.warp import Warp
from tfpoison.recipes import TrialKey, draw_threat
from tfpoison.recipes.threat import positions_of

IMAGES = np.zeros((30, 9, 8, 3), np.uint8)


def drawn(text):
    recipe = recipes.get(text)
    trigger = recipe.draw_trigger(np.random.default_rng(0), (9, 8, 3))
    trigger.check((9, 8, 3))
    return recipe, trigger


def seen(trigger):
    return trigger.put_on(IMAGES, np.arange(30)).astype(float)


def test_adaptive_blend():
    """Half of the pieces, at a lower opacity."""
    recipe, trigger = drawn("adaptive_blend(opacity=0.4;poison_opacity=0.2)")
    assert isinstance(trigger, Overlay)
    whole, part = seen(trigger), seen(recipe.on_poisons(trigger))
    shown = part > 0
    assert 0.4 < shown.mean() < 0.6
    np.testing.assert_allclose(part[shown], whole[shown] / 2, atol=1.01)
    with pytest.raises(ValueError, match=r"`visible`.*at most 9"):
        recipes.get("adaptive_blend(pieces=3;visible=10)")


def test_adaptive_patch():
    """Four patches of 2×2 pixels, one in each quarter; of poisons one of them, of targets all."""
    recipe, trigger = drawn("adaptive_patch(opacity=0.5)")
    assert trigger.pattern[..., 3].sum() == 4 * 4 * 255
    whole, part = seen(trigger), seen(recipe.on_poisons(trigger))
    np.testing.assert_array_equal(whole[0], trigger.pattern[..., :3])
    quarters = [
        part[:, rows, columns].any((1, 2, 3))
        for rows in (slice(5), slice(5, None))
        for columns in (slice(4), slice(4, None))
    ]
    np.testing.assert_array_equal(np.sum(quarters, axis=0), np.ones(30))
    np.testing.assert_allclose(part[part > 0], 127.5, atol=0.5)
    big = recipe.draw_trigger(np.random.default_rng(0), (9, 8, 3), size=4)
    assert big.pattern[..., 3].sum() == 4 * 16 * 255
    with pytest.raises(ValueError, match="fits into the images"):
        recipe.draw_trigger(np.random.default_rng(0), (9, 8, 3), size=5)


def test_wanet():
    recipe, trigger = drawn("wanet(strength=2;points=3)")
    assert isinstance(trigger, Warp) and trigger.pattern.shape == (3, 3, 2)
    assert recipe.on_poisons(trigger) is trigger
    assert (recipe.on_covers(trigger).noise, recipe.on_covers(trigger).strength) == (1, 2)
    with pytest.raises(ValueError, match=r"setting of a Warp.*'opacity'"):
        recipes.get("adaptive_patch").on_poisons(trigger)


@pytest.mark.parametrize("batch_size", [8, 3])
def test_narcissus(batch_size):
    """Of a linear network, with whose sign the trigger grows is known: as far as ε."""
    recipe = recipes.get("narcissus(strength=2)", epsilon=12 / 255, steps=30, batch_size=batch_size)
    data = make_data_set()
    threat = draw_threat(
        recipe.threat_settings(budget=8),
        TrialKey(0, 0),
        data.train,
        data.validation,
        CLASSES,
        trigger=recipe.draw_trigger,
    )
    kernel = np.random.default_rng(0).normal(size=(np.prod(SHAPE), CLASSES))
    kernel[:, [each for each in range(CLASSES) if each != threat.adversarial_class]] = 0
    network = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    network.set_weights([kernel, np.zeros(CLASSES)])
    poisons = recipes.brew(recipe, [network], threat, data.train, data.validation)
    expected = 12 * np.sign(kernel[:, threat.adversarial_class]).reshape(SHAPE)
    trigger = poisons.threat.trigger
    np.testing.assert_array_equal(trigger.pattern, expected)
    clean = data.train.read(positions_of(data.train, poisons.ids))
    np.testing.assert_array_equal(
        poisons.poisoned_images(data.train), np.clip(clean + expected, 0, 255)
    )
    targets = poisons.threat.target_images(data.validation)
    clean = data.validation.read(positions_of(data.validation, threat.target_ids))
    np.testing.assert_array_equal(targets, np.clip(clean + 2 * expected, 0, 255))


def test_whose_images_carry_the_trigger():
    assert recipes.get("badnets").threat_settings().all_to_one is False
    assert recipes.get("badnets").threat_settings(all_to_one=True).all_to_one
    assert recipes.get("blended").threat_settings().all_to_one
    assert recipes.get("blended").threat_settings(target_class=3).all_to_one is False
    assert not recipes.get("watermark").threat_settings(all_to_one=True).all_to_one
