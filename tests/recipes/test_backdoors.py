"""Published backdoors: what they draw, and what poisons, covers and targets carry."""

import numpy as np
import pytest

from tfpoison import recipes
from tfpoison.perturbations.overlay import Overlay
from tfpoison.perturbations.warp import Warp

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


def test_whose_images_carry_the_trigger():
    assert recipes.get("badnets").threat_settings().all_to_one is False
    assert recipes.get("badnets").threat_settings(all_to_one=True).all_to_one
    assert recipes.get("blended").threat_settings().all_to_one
    assert recipes.get("blended").threat_settings(target_class=3).all_to_one is False
    assert not recipes.get("watermark").threat_settings(all_to_one=True).all_to_one
