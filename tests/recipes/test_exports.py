"""Exports: other readers find exactly the poisoned images."""

import csv
import dataclasses
import pickle

import numpy as np
import pytest
from data_sets import make_data_set, make_examples, patch
from test_poisons import make_poisons

from tfpoison import data
from tfpoison.recipes import exports

DATA = make_data_set()


def export(name, folder, **more):
    poisons, _ = make_poisons(**more)
    return poisons, exports.export(name, poisons, DATA, folder)


def check_reads_back(poisons, read):
    expected = poisons.poison(DATA.train)
    assert read.class_names == DATA.class_names
    order = np.argsort([image.tobytes() for image in read.train.images])
    theirs = np.argsort([image.tobytes() for image in expected.images])
    np.testing.assert_array_equal(read.train.images[order], expected.images[theirs])
    np.testing.assert_array_equal(read.train.labels[order], expected.labels[theirs])
    assert read.validation.size == DATA.validation.size


def test_image_folder(tmp_path):
    poisons, path = export("image_folder", tmp_path, trigger=patch(size=2))
    assert path == tmp_path / "image_folder"
    check_reads_back(poisons, data.load("image_folder", data_dir=path))


def test_tfds(tmp_path):
    poisons, path = export("tfds", tmp_path)
    read = data.load("poisoned", data_dir=path)
    check_reads_back(poisons, read)
    np.testing.assert_array_equal(read.train.images, poisons.poison(DATA.train).images)


@pytest.mark.parametrize(
    "more", [{}, {"trigger": patch(size=2, place="3,1")}, {"trigger": patch(size=2)}]
)
def test_poisoning_benchmark(tmp_path, more):
    poisons, path = export("poisoning_benchmark", tmp_path, **more)
    read = {
        name: pickle.loads((path / f"{name}.pickle").read_bytes())
        for name in ("poisons", "base_indices", "target")
    }
    assert read["base_indices"] == poisons.ids.tolist()
    images = np.stack([np.asarray(picture) for picture, _ in read["poisons"]])
    np.testing.assert_array_equal(images, poisons.poisoned_images(DATA.train))
    assert [label for _, label in read["poisons"]] == poisons.labels.tolist()
    picture, label, *trigger = read["target"]
    position = np.searchsorted(DATA.validation.ids, poisons.threat.target_ids[0])
    np.testing.assert_array_equal(np.asarray(picture), DATA.validation.images[position])
    assert label == poisons.threat.target_class
    if more:
        pattern, (top, left) = trigger
        assert pattern.shape == (3, 2, 2)
        assert [top, left] == [3, 1] or "place" not in more["trigger"].keywords
        # The benchmark pastes the pattern there, and sees what our victims see.
        seen = np.array(picture)
        seen[top : top + 2, left : left + 2] = np.rint(255 * pattern).transpose(1, 2, 0)
        np.testing.assert_array_equal(seen, poisons.threat.target_images(DATA.validation)[0])


def test_an_earlier_export_is_replaced(tmp_path):
    export("poisoning_benchmark", tmp_path)
    (tmp_path / "poisoning_benchmark/old").write_text("old")
    export("poisoning_benchmark", tmp_path)
    assert not (tmp_path / "poisoning_benchmark/old").exists()


ODD_NAMES = ("T-shirt/top", "../../../escaped", "..", 'a,b "c"')
ODD_FOLDERS = ["%2E.%2F..%2F..%2Fescaped", "%2E%2E", "T-shirt%2Ftop", "a,b %22c%22"]


def named(*class_names):
    return dataclasses.replace(DATA, class_names=class_names)


def test_class_names_are_no_paths(tmp_path):
    poisons, _ = make_poisons()
    inside = tmp_path / "some" / "where"
    inside.mkdir(parents=True)
    path = exports.export("image_folder", poisons, named(*ODD_NAMES), inside)
    assert {each.relative_to(path).parts[0] for each in tmp_path.rglob("*.*g")} == {"train", "test"}
    assert sorted(each.name for each in (path / "train").iterdir()) == sorted(ODD_FOLDERS)
    read = data.load("image_folder", data_dir=path)
    assert read.class_names == tuple(sorted(ODD_FOLDERS))
    assert (read.train.size, read.validation.size) == (DATA.train.size, DATA.validation.size)
    # The list of poisons names files that are there, whatever letters their names hold.
    rows = list(csv.DictReader((path / "poisons.csv").read_text().splitlines()))
    assert all((path / "train" / row["file"]).is_file() for row in rows)
    assert len(rows) == poisons.size


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a", "a b", "é", "a.b"], ["a", "a b", "é", "a.b"]),
        (["", ".", ".a", "a."], ["%", "%2E", "%2Ea", "a%2E"]),
        (["a/b", "a%2Fb", "a\\b", "a_b"], ["a%2Fb", "a%252Fb", "a%5Cb", "a_b"]),
        (["/etc", " a ", "a\0", "a\n"], ["%2Fetc", "%20a%20", "a%00", "a%0A"]),
        (["\udcff", "\u2028", "~", "C:"], ["%ED%B3%BF", "%E2%80%A8", "~", "C%3A"]),
    ],
)
def test_names_of_folders(names, folders):
    assert exports._folder_names(names) == folders


@pytest.mark.parametrize(
    ("form", "names", "message"),
    [
        ("image_folder", "abcc", "a name of its own"),
        ("image_folder", ["a", "b", "c", "é" * 128], "up to 255 bytes"),
        ("tfds", ["a", "b", "c", " d"], "without blanks around them.*' d'"),
        ("tfds", ["a", "b", "c", ""], "without blanks around them.*''"),
        ("tfds", ["a", "b", "c", "d\ne"], "without blanks around them"),
    ],
)
def test_names_that_are_refused(form, names, message, tmp_path):
    poisons, _ = make_poisons()
    with pytest.raises(ValueError, match=message):
        exports.export(form, poisons, named(*names), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tfds_keeps_names_that_are_no_paths(tmp_path):
    poisons, _ = make_poisons()
    path = exports.export("tfds", poisons, named("T-shirt/top", "..", "a,b", "/d"), tmp_path)
    read = data.load("poisoned", data_dir=path)
    assert read.class_names == ("T-shirt/top", "..", "a,b", "/d")
    assert (read.train.size, read.validation.size) == (DATA.train.size, DATA.validation.size)


def test_refusals(tmp_path):
    poisons, _ = make_poisons()
    with pytest.raises(ValueError, match="image_folder"):
        exports.export("folder", poisons, DATA, tmp_path)
    other = type(DATA)(DATA.name, DATA.class_names, make_examples(80, 9), DATA.validation)
    with pytest.raises(ValueError, match="made for"):
        exports.export("tfds", poisons, other, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_form_is_tested_here():
    assert exports.EXPORTS.names() == ["image_folder", "tfds", "poisoning_benchmark"]
