"""Warps, computed again pixel by pixel, and by PyTorch's definition of its cubic convolution."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison.perturbations.triggers import from_parts, to_parts
from tfpoison.perturbations.warp import Warp

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 7, 9, 2))


def enlarged(field, size):
    """The field at `size` places along its first axis: four neighbours, weighted by the kernel."""

    def kernel(x, a=-0.75):
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0

    last = len(field) - 1
    rows = []
    for number in range(size):
        place = number * last / (size - 1)
        low = int(np.floor(place))
        near = [(min(max(each, 0), last), kernel(place - each)) for each in range(low - 1, low + 3)]
        rows.append(sum(weight * field[each] for each, weight in near))
    return np.stack(rows)


def warped(image, field, strength, noise=0.0):
    """The image warped by the authors' steps: normalised coordinates in ±1, held there twice."""
    height, width, _ = image.shape
    field = enlarged(enlarged(field, height).swapaxes(0, 1), width).swapaxes(0, 1)
    result = np.zeros_like(image)
    for row, column in np.ndindex(height, width):
        place = np.array([2 * row / (height - 1) - 1, 2 * column / (width - 1) - 1])
        place = np.clip(place + strength * field[row, column] / height, -1, 1)
        if np.ndim(noise):
            place = np.clip(place + noise[row, column] / height, -1, 1)
        down, right = (place + 1) / 2 * [height - 1, width - 1]
        top, left = int(min(down, height - 2)), int(min(right, width - 2))
        upper = image[top, left] * (left + 1 - right) + image[top, left + 1] * (right - left)
        top += 1
        lower = image[top, left] * (left + 1 - right) + image[top, left + 1] * (right - left)
        result[row, column] = upper * (top - down) + lower * (down - top + 1)
    return result


@pytest.mark.parametrize(("points", "strength"), [(4, 0.5), (3, 4.0)])
def test_warps(points, strength):
    trigger = Warp.draw(np.random.default_rng(1), points=points, strength=strength)
    assert np.abs(trigger.pattern).mean() == pytest.approx(1)
    ours = trigger.change(tf.constant(IMAGES), trigger.draw_by_id(np.arange(3), (7, 9, 2)))
    field = trigger.pattern.astype(float)
    expected = [warped(image, field, strength) for image in IMAGES]
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    assert np.abs(ours - IMAGES).max() > 0.05


def test_noise():
    trigger = Warp(np.ones((4, 4, 2), np.float32), 0.5, noise=1.0, seed=2)
    draws = trigger.draw_by_id(np.array([8, 3, 8]), (7, 9, 2))
    np.testing.assert_array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], draws[1])
    ours = trigger.change(tf.constant(IMAGES), draws)
    field = trigger.pattern.astype(float)
    expected = [
        warped(image, field, 0.5, each.numpy()) for image, each in zip(IMAGES, draws, strict=True)
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    drawn = trigger.draw_by_key(tf.constant([0, 1]), tf.constant(IMAGES))
    assert drawn.shape == (3, 7, 9, 2) and -1 <= drawn.numpy().min() < -0.9


def test_files():
    trigger = Warp.draw(np.random.default_rng(1), strength=3.0, noise=0.5)
    arrays, description = to_parts(trigger)
    assert description.keys() == {"name", "strength", "noise", "seed"}
    assert description["name"] == "warp"
    again = from_parts(arrays, description)
    images = (255 * IMAGES).astype(np.uint8)
    np.testing.assert_array_equal(*(each.put_on(images, np.arange(3)) for each in (trigger, again)))
    still = Warp(np.zeros((4, 4, 2), np.float32))
    np.testing.assert_array_equal(still.put_on(images, np.arange(3)), images)
    with pytest.raises(ValueError, match="float32"):
        Warp(trigger.pattern.astype(float))
