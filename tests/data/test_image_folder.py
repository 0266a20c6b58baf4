"""What is read of a folder of images, what is left out, and what is refused by its name."""

import os
import struct
import warnings
import zlib

import keras
import numpy as np
import PIL.Image
import pytest
from folders import write_images

from tfpoison import data
from tfpoison.data import loading

DRAW = np.random.default_rng(0)


def picture(mode="RGB", size=(5, 4)):
    return PIL.Image.fromarray(DRAW.integers(0, 256, (*size, 3), np.uint8)).convert(mode)


def save(path, mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(mode).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """cat, dog."""
    write_images(tmp_path / "cat", 5)
    write_images(tmp_path / "dog", 5)
    return tmp_path


@pytest.fixture
def splits(tmp_path):
    """train/cat, train/dog."""
    write_images(tmp_path / "train" / "cat", 2)
    write_images(tmp_path / "train" / "dog", 2)
    return tmp_path


def load(folder, **options):
    """Loads all images, and returns them by the names of their files."""
    selection = data.Selection("image_folder", data_dir=folder, whole_split=True, **options)
    names = selection.source.train.file_names()
    return dict(zip(names, selection.load().train.images, strict=True))


def check(folder):
    return data.Selection("image_folder", data_dir=folder).check()


def stream(monkeypatch):
    monkeypatch.setattr(loading, "MEMORY_LIMIT_BYTES", 100)


@pytest.mark.parametrize("streamed", [False, True])
def test_images_are_those_of_keras(folder, monkeypatch, streamed):
    for name in ("a.jpg", "b.JPEG", "c.bmp", "d.GIF", "deeper/e.png"):
        save(folder / "cat" / name)
    save(folder / "cat" / "grey.jpg", "L")
    save(folder / "cat" / "ink.jpg", "CMYK")
    save(folder / "cat" / "palette.png", "P")
    save(folder / "cat" / "black and white.png", "1")
    if streamed:
        stream(monkeypatch)
    with pytest.warns(UserWarning, match=r"1 image\(s\) in .* lie in sub-folders"):
        ours = load(folder, image_size=(5, 4) if streamed else None)
    theirs = keras.utils.image_dataset_from_directory(
        folder, batch_size=None, image_size=(5, 4), shuffle=False, verbose=0
    )
    images = [image.numpy() for image, _ in theirs]
    assert len(images) == len(ours) == 19
    for path, image in zip(theirs.file_paths, images, strict=True):
        np.testing.assert_array_equal(image, ours[os.path.relpath(path, folder)], path)


def test_what_tensorflow_mistakes_is_read_as_pillow_reads_it(folder):
    save(folder / "cat" / "palette.bmp", "P")
    save(folder / "cat" / "black and white.bmp", "1")
    save(folder / "cat" / "transparent.webp", "RGBA", lossless=True)
    save(folder / "cat" / "in disguise.png", "P", format="BMP")
    images = load(folder)
    for path in (each for each in (folder / "cat").iterdir() if not each.stem.isdigit()):
        expected = np.asarray(PIL.Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(images[f"cat/{path.name}"], expected, path.name)


def test_hidden_and_system_files_are_passed_over(folder):
    for name in (".git", "__MACOSX", "@eaDir", ".ipynb_checkpoints"):
        save(folder / name / "1.png")
    for name in ("._1.png", "Thumbs.db", ".DS_Store"):
        (folder / "cat" / name).write_bytes(b"no image")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = check(folder)
    assert (found.class_names, found.train_size) == (("cat", "dog"), 8)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "cat/1.tif",
            r"1 file\(s\) in .* no images by their names: left out are 1 .tif.*cat/1.tif",
        ),
        ("dog/more/notes", r"left out are 1 without ending, such as .*dog/more/notes"),
        ("1.png", r"1 image\(s\) in .* lie in no class's folder: left out are 1 .png"),
    ],
)
def test_what_is_left_out_is_said(folder, path, message):
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_bytes(b"something")
    with pytest.warns(UserWarning, match=message):
        assert check(folder).train_size == 8


@pytest.mark.parametrize("name", ["valid", "val", "validation", "test", "Testing"])
def test_held_out_images_are_found(splits, name):
    write_images(splits / name / "dog", 3)
    with pytest.warns(UserWarning, match=rf"No image of cat is held out in .*{name}"):
        assert check(splits).validation_size == 3


@pytest.mark.parametrize("path", ["extra/cat/1.png", "test/1.png"])
def test_folders_that_are_no_splits_are_said(splits, path):
    save(splits / path)
    with pytest.warns(UserWarning, match=rf"left out, in .*{path.split('/')[0]}\. Held-out"):
        assert check(splits).train_size == 3


def link_to_nothing(folder):
    (folder / "cat" / "odd.png").symlink_to("nowhere.png")


def link_to_itself(folder):
    (folder / "cat" / "odd.png").symlink_to("odd.png")


def link_in_a_circle(folder):
    (folder / "cat" / "odd").symlink_to(folder, target_is_directory=True)


def pipe(folder):
    os.mkfifo(folder / "cat" / "odd.png")


def content(*parts):
    return lambda folder: (folder / "cat" / "odd.png").write_bytes(b"".join(parts))


def cut_short(kind):
    def make(folder):
        path = save(folder / "cat" / "odd.png", format=kind)
        path.write_bytes(path.read_bytes()[:-9])

    return make


def png_of_16_bits(colour, channels):
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    return content(
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 5, 16, colour, 0, 0, 0)),
        chunk(b"IDAT", zlib.compress(bytes(5 * (1 + 4 * 2 * channels)))),
        chunk(b"IEND", b""),
    )


CUT_SHORT = [(cut_short(kind), "decoded") for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (link_to_nothing, "decoded.*No such file"),
        (link_to_itself, "folders that can be read.*symbolic links"),
        (link_in_a_circle, "folders that end"),
        (pipe, "no regular file"),
        (content(), "content is none of"),
        (content(b"<html>not found</html>"), "content is none of"),
        *CUT_SHORT,
        *((png_of_16_bits(*each), "8 bits a channel") for each in [(0, 1), (2, 3), (4, 2), (6, 4)]),
    ],
)
def test_a_file_that_cannot_be_read_is_named(folder, make, message):
    make(folder)
    with pytest.raises(ValueError, match=message) as error:
        load(folder)
    assert f"{folder}/cat/odd" in str(error.value)


@pytest.mark.parametrize(("make", "message"), CUT_SHORT)
def test_streamed_files_are_decoded_once_beforehand(folder, monkeypatch, make, message):
    stream(monkeypatch)
    make(folder)
    with pytest.raises(ValueError, match=f"{message}.*{folder}/cat/odd.png"):
        load(folder, image_size=(5, 4))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("odd.png", {"mode": "LA"}, "alpha is dropped"),
        ("odd.png", {"mode": "P", "transparency": bytes(range(256))}, "alpha is dropped"),
        ("odd.gif", {"save_all": True, "append_images": [picture()]}, "first frame"),
        ("odd.webp", {"save_all": True, "append_images": [picture()]}, "first frame"),
        ("odd.jpg", {"exif": {0x0112: 6}}, "EXIF"),
        ("odd.png", {"exif": {0x0112: 3}}, "EXIF"),
    ],
)
def test_what_is_not_read_of_an_image_is_said(folder, name, options, message):
    if "exif" in options:
        exif = PIL.Image.Exif()
        exif.update(options["exif"])
        options = {"exif": exif}
    save(folder / "cat" / name, **options)
    with pytest.warns(UserWarning, match=rf"1 image\(s\) .*{message}.*cat/odd"):
        assert load(folder)[f"cat/{name}"].shape == (5, 4, 3)


def test_a_damaged_exif_tag_is_passed_over(folder):
    save(folder / "cat" / "odd.jpg", exif=b"Exif\0\0II*\0damaged")
    with warnings.catch_warnings(action="ignore"):
        assert "cat/odd.jpg" in load(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["empty/"], r"of every class.*of .*/empty\. Add"),
        (["scans/1.tif"], r"left out are 1 \.tif.*of .*/scans\. Add"),
        (["val/cat/1.png"], r"called like splits.* val\."),
    ],
)
def test_folders_that_are_no_classes_are_refused(folder, files, message):
    for each in files:
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / each).mkdir() if each.endswith("/") else save(folder / each)
    with pytest.raises(ValueError, match=message):
        check(folder)


def test_a_class_of_held_out_images_alone_is_refused(splits):
    save(splits / "test" / "unknown" / "1.png")
    with pytest.raises(ValueError, match=r"of every class.*test/unknown\. Add"):
        check(splits)


def test_splits_without_classes_are_refused(tmp_path):
    save(tmp_path / "train" / "1.png")
    save(tmp_path / "test" / "1.png")
    with pytest.raises(ValueError, match=r"called like splits.* test, train\."):
        check(tmp_path)
    (tmp_path / "test").rename(tmp_path / "plane")
    assert check(tmp_path).class_names == ("plane", "train")


def test_one_class_is_refused(tmp_path):
    save(tmp_path / "cat" / "1.png")
    with pytest.raises(ValueError, match="two classes or more"):
        check(tmp_path)


def test_odd_names(folder, monkeypatch):
    odd = [
        b"latin-\xe9",
        b"a b,c'\"",
        b"new\nline",
        b"100%s",
        b"[a]*?",
        b"$HOME`",
        "漢\u202e".encode(),
    ]
    colours = {name: number for number, name in enumerate(odd)}
    for name, colour in colours.items():
        image = np.full((5, 4, 3), colour, np.uint8)
        with open(os.path.join(os.fsencode(folder), b"cat", name + b".png"), "wb") as file:
            PIL.Image.fromarray(image).save(file, "PNG")
    os.rename(folder / "dog", os.path.join(os.fsencode(folder), b"d\xf6g"))
    assert check(folder).class_names == ("cat", r"d\xf6g")
    stream(monkeypatch)
    images = load(folder, image_size=(5, 4))
    assert {
        images[f"cat/{name.decode('utf-8', 'backslashreplace')}.png"].max() for name in odd
    } == {*colours.values()}
