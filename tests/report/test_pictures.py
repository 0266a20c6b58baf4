"""Pictures of images: what is drawn where, and what they say of themselves."""

import io

import numpy as np
import PIL.Image
import pytest

from tfpoison.report import pictures

GREY = (0xDC,) * 3


def pixels(picture):
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(("channels", "count", "targets"), [(3, 10, 3), (1, 1, 0)])
def test_a_change_is_drawn_between_before_and_after(channels, count, targets):
    before = np.full((count, 6, 6, channels), 0.6)
    others = ("targets", np.full((targets, 6, 6, channels), 0.2), ()) if targets else None
    picture, told = pictures.draw_change(before, before - 0.05, ["a"] * count, targets=others)
    shown, side = min(count, 4), 96 * 96
    # 0.05 is enlarged to the 0.5 that there is around grey, and is black then.
    for level, images in ((153, shown), (0, shown), (140, shown), (51, targets)):
        found = (np.abs(pixels(picture).astype(int) - level) <= 1).all(axis=2).sum()
        assert found >= images * side, level
    assert "10 times as large" in told and "12.8/255" in told
    # Four images are as wide as a phone.
    assert picture.width <= 420


def test_images_without_a_change_can_be_drawn():
    images = np.full((2, 4, 4, 3), 0.5)
    assert pictures.draw_change(images, images, ["", ""])[1].endswith("at most it is 0/255.")


@pytest.mark.parametrize(("before", "after"), [((2, 4, 4, 3), (1, 4, 4, 3)), ((0, 4, 4, 3),) * 2])
def test_images_that_do_not_fit_are_refused(before, after):
    with pytest.raises(ValueError, match=r"Expected images before and after.*Received: \("):
        pictures.draw_change(np.zeros(before), np.zeros(after), [])


def test_a_caption_goes_with_its_picture(tmp_path):
    picture = pictures.draw_rows([("a", np.zeros((1, 4, 4, 1)), ["b"])])
    (tmp_path / "one.png").write_bytes(pictures.png(picture, "ε = 16/255"))
    (tmp_path / "other.png").write_bytes(pictures.png(picture))
    assert pictures.read_caption(tmp_path / "one.png") == "ε = 16/255"
    assert pictures.read_caption(tmp_path / "other.png") == "other"
    assert pictures.png(picture, "ε = 16/255") == (tmp_path / "one.png").read_bytes()


def test_a_jpeg_keeps_the_squares_of_small_images():
    image = np.zeros((4, 8, 1), np.uint8)
    image[0, 0] = 255
    small = PIL.Image.open(io.BytesIO(pictures.jpeg(image)))
    assert small.size == (96, 48)
    assert pixels(small)[2:10, 2:10].min() > 240 and pixels(small)[2:10, 16:].max() < 16


@pytest.mark.parametrize("classes", [1, 100, 250])
def test_the_contact_sheet_shows_every_class(classes):
    colours = np.stack([np.arange(classes), np.full(classes, 77), np.full(classes, 99)], axis=1)
    images = np.tile(colours.astype(np.uint8)[:, None, None, None], (1, 2, 3, 5, 1))
    rows = [("a long name " * 30, image, ["1 (2)", "a long caption " * 9]) for image in images]
    sheet = pictures.draw_rows(rows)
    # Programs that show pictures do not take longer sides.
    assert max(sheet.size) < 2**15
    red, green, blue = np.moveaxis(np.asarray(sheet), -1, 0)
    found = np.bincount(red[(green == 77) & (blue == 99)], minlength=classes)
    side = 96 if classes <= 100 else 48
    assert (found == 2 * side * round(side * 3 / 5)).all()
    if classes == 1:
        assert pictures.png(sheet) == pictures.png(pictures.draw_rows(rows))


def test_the_contact_sheet_takes_floats_and_grey():
    grey = pictures.draw_rows([("a", np.full((1, 4, 4, 1), 0.5), ["b"])])
    assert (np.asarray(grey) == 128).all(axis=2).sum() == 96 * 96
    with pytest.raises(ValueError, match="Received none"):
        pictures.draw_rows([])
