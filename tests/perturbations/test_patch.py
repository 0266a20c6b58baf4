"""Triggers: geometry to the pixel, places that follow from ids, refusals."""

import dataclasses
import os

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations.patch import PLACES, Patch, check_fits, parse_place, read_pattern
from tfpoison.perturbations.table import TRIGGERS
from tfpoison.perturbations.trigger import Trigger
from tfpoison.perturbations.triggers import from_parts, to_parts
from tfpoison.pixel_range import PixelRange

SHAPE = (10, 8, 3)


def draw(seed=0, **settings):
    return Patch.draw(np.random.default_rng(seed), SHAPE, **({"size": 3} | settings))


def test_pixels_under_the_trigger_alone_change():
    images = np.random.default_rng(1).integers(1, 255, (5, *SHAPE), dtype=np.uint8)
    trigger = draw(place="2,4")
    pasted = trigger.put_on(images, np.arange(5))
    np.testing.assert_array_equal(
        pasted[:, 2:5, 4:7], np.broadcast_to(trigger.pattern, (5, 3, 3, 3))
    )
    pasted[:, 2:5, 4:7] = images[:, 2:5, 4:7]
    np.testing.assert_array_equal(pasted, images)
    assert set(np.unique(trigger.pattern)) == {0, 255}
    assert trigger == trigger != draw(seed=1)


def test_random_places_depend_on_the_id_alone():
    images = np.full((200, *SHAPE), 100, np.uint8)
    ids = np.arange(200)
    trigger = draw()
    pasted = trigger.put_on(images, ids)
    np.testing.assert_array_equal(trigger.put_on(images[:7], ids[50:57]), pasted[50:57])
    tops = {np.argwhere(image != 100)[:, 0].min() for image in pasted}
    lefts = {np.argwhere(image != 100)[:, 1].min() for image in pasted}
    # 8 rows and 6 columns where a side of 3 fits into 10 × 8.
    assert tops == set(range(8))
    assert lefts == set(range(6))


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("random", None),
        ("top_left", (0, 0)),
        ("top_right", (0, 5)),
        ("bottom_left", (7, 0)),
        ("bottom_right", (7, 5)),
        ("7, 5", (7, 5)),
    ],
)
def test_places(place, expected):
    assert parse_place(place, (3, 3, 3), SHAPE) == expected


def test_every_place_is_tested_here():
    assert set(PLACES) == {"random", "top_left", "top_right", "bottom_left", "bottom_right"}


@pytest.mark.parametrize("place", ["8,0", "0,6", "-1,0", "middle", "1", "1,2,3"])
def test_places_that_are_refused(place):
    with pytest.raises(ValueError, match="up to 7,5"):
        draw(place=place)


def test_triggers_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match="fits into the images"):
        draw(size=9)
    with pytest.raises(ValueError, match="as many channels"):
        check_fits((2, 2, 1), SHAPE)
    draw(size=8)


def test_a_given_pattern(tmp_path):
    pattern = np.random.default_rng(2).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    PIL.Image.fromarray(pattern).save(tmp_path / "trigger.png")
    read = read_pattern(tmp_path / "trigger.png")
    np.testing.assert_array_equal(read, pattern)
    np.testing.assert_array_equal(draw(pattern=read).pattern, pattern)
    (tmp_path / "words.png").write_text("no image")
    whole = (tmp_path / "trigger.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(tmp_path / "pipe.png")
    PIL.Image.fromarray(pattern[..., 0].astype(np.uint16)).save(tmp_path / "16_bits.png")
    for name in ("words.png", "nothing.png", "cut.png", "pipe.png", "16_bits.png"):
        with pytest.raises(ValueError, match=f"image file. Received: .*{name}"):
            read_pattern(tmp_path / name)


def test_in_a_training_step():
    """A trigger is a perturbation: the patch stands on each poison, at a place that a key draws."""
    images = tf.fill([40, *SHAPE], 0.5)
    labels = tf.zeros(40, tf.int32)
    batch = SplitBatch(images, labels, images[:2], labels[:2], labels[:2])
    bound = draw().bind(
        batch, pixels=PixelRange((-1, 1)), encoding=LabelEncoding(2, one_hot=False), key=[0, 1]
    )
    poisons = bound.finish(bound.initial).poison_images.numpy()
    changed = poisons != 0.5
    assert (changed.sum(axis=(1, 2, 3)) == 3 * 3 * 3).all()
    assert set(np.unique(poisons)) == {-1, 0.5, 1}
    assert len({np.argwhere(image)[0].tobytes() for image in changed}) > 20


@dataclasses.dataclass(frozen=True, eq=False)
class Brighter(Trigger):
    """What a new kind of trigger needs: no pattern, nothing drawn."""

    by: float = 0.1

    def change(self, images, draws):
        return images + self.by


def test_a_trigger_of_ones_own(monkeypatch):
    monkeypatch.setattr(TRIGGERS, "_makers", {"patch": Patch})
    TRIGGERS.register("brighter")(Brighter)
    images = np.array([[[[0, 100, 255]]]], np.uint8)
    trigger = Brighter(by=0.2)
    np.testing.assert_array_equal(trigger.put_on(images, np.arange(1)), [[[[51, 151, 255]]]])
    arrays, description = to_parts(trigger)
    assert (arrays, description) == ({}, {"by": 0.2, "name": "brighter"})
    assert from_parts(arrays, description).by == 0.2
    assert to_parts(draw(place="1,2"))[1].keys() == {"place", "seed"}
    assert list(TRIGGERS) == ["patch", "brighter"]
    with pytest.raises(ValueError, match=r"Unknown trigger.*patch"):
        from_parts({}, {"name": "spark"})
