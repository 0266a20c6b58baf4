"""Poisons: applied to the bit, saved, and refused where they do not belong."""

import collections
import dataclasses
import json
import os
import pathlib
import pickle
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from data_sets import make_data_set, make_examples, patch

from tfpoison import data
from tfpoison.recipes import (
    PoisonedExamples,
    Poisons,
    ThreatSettings,
    TrialKey,
    draw_threat,
    poisons_file,
    threat,
)
from tfpoison.recipes.fingerprints import fingerprint
from tfpoison.recipes.threat import positions_of

DATA = make_data_set()


def make_poisons(**more):
    drawn = draw_threat(
        ThreatSettings(budget=6),
        TrialKey(0, 1),
        DATA.train,
        DATA.validation,
        4,
        **more,
    )
    clean = DATA.train.read(positions_of(DATA.train, drawn.poison_ids)).astype(int)
    noise = np.random.default_rng(5).integers(-16, 17, clean.shape)
    poisoned = np.clip(clean + noise, 0, 255).astype(np.uint8)
    labels = np.full(6, 3) if more else None
    return Poisons.make(
        DATA.train, poisoned, drawn, data_set=DATA.name, labels=labels, settings={"a": 1}
    ), poisoned


def test_poisoned_examples():
    poisons, poisoned = make_poisons()
    examples = poisons.poison(DATA.train)
    rows = positions_of(DATA.train, poisons.ids)
    np.testing.assert_array_equal(examples.images[rows], poisoned)
    others = np.setdiff1d(np.arange(DATA.train.size), rows)
    np.testing.assert_array_equal(examples.images[others], DATA.train.images[others])
    np.testing.assert_array_equal(examples.labels, DATA.train.labels)
    np.testing.assert_array_equal(poisons.poisoned_images(DATA.train), poisoned)
    assert poisons.epsilon == 16 / 255
    # The training pipeline sees the same images.
    batches = data.training_batches(examples, batch_size=16, epochs=1, seed=0)
    seen = {
        (image * 255).round().astype(np.uint8).tobytes()
        for images, _ in batches.as_numpy_iterator()
        for image in images
    }
    assert seen == {image.tobytes() for image in examples.images}


def test_changed_labels():
    poisons, _ = make_poisons(trigger=patch(size=2))
    examples = poisons.poison(DATA.train)
    assert (examples.labels[positions_of(DATA.train, poisons.ids)] == 3).all()
    labels = np.concatenate(
        [labels for _, labels in data.evaluation_batches(examples, 16).as_numpy_iterator()]
    )
    np.testing.assert_array_equal(labels, examples.labels)


def test_selections_keep_their_poisons():
    poisons, poisoned = make_poisons()
    rows = positions_of(DATA.train, poisons.ids)
    examples = poisons.poison(DATA.train).select(np.sort(rows[2:5]))
    assert isinstance(examples, PoisonedExamples)
    np.testing.assert_array_equal(examples.images, poisoned[2:5])
    twice = np.sort(np.concatenate([rows[2:5], rows[3:4], [0, 0]]))
    chosen = poisons.poison(DATA.train).select(twice)
    np.testing.assert_array_equal(chosen.images, poisons.poison(DATA.train).images[twice])
    np.testing.assert_array_equal(np.concatenate(list(chosen.batches(2))), chosen.images)


def test_a_selection_without_any_poison_is_trained_on():
    """As a filter leaves it that finds all of them."""
    poisons, _ = make_poisons(trigger=patch(size=2))
    rest = np.setdiff1d(np.arange(DATA.train.size), positions_of(DATA.train, poisons.ids))
    left = poisons.poison(DATA.train).select(rest)
    np.testing.assert_array_equal(left.images, DATA.train.images[rest])
    pairs = list(data.evaluation_batches(left, 16).as_numpy_iterator())
    images, labels = (np.concatenate(each) for each in zip(*pairs, strict=True))
    np.testing.assert_array_equal((images * 255).round().astype(np.uint8), left.images)
    np.testing.assert_array_equal(labels, DATA.train.labels[rest])


@pytest.mark.parametrize("pixel_range", [None, (0, 1), (0, 255), (-1, 1)])
def test_any_pipeline(pixel_range):
    poisons, _ = make_poisons()
    expected = poisons.poison(DATA.train).images
    # Ids count the full split, of which DATA.train holds every third image.
    split = np.repeat(DATA.train.images, 3, axis=0)
    labels = np.repeat(DATA.train.labels, 3)
    images, more = split, {}
    if pixel_range is not None:
        low, high = pixel_range
        images = (low + (high - low) * (split / 255)).astype(np.float32)
        more = {"pixel_range": pixel_range}
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    poisoned = poisons.apply(dataset, **more)
    ours = np.stack([image for image, _ in poisoned.as_numpy_iterator()])
    if pixel_range is not None:
        ours = (ours - low) / (high - low) * 255
    np.testing.assert_allclose(ours[::3], expected, atol=1e-3)
    np.testing.assert_allclose(ours[1::3], DATA.train.images, atol=1e-3)


Shard = collections.namedtuple("Shard", ["filename", "skip", "take"])


def test_several_shards():
    """Two shards that are read in turns, eight images each: as TFDS does it."""
    poisons, _ = make_poisons()
    images, labels = np.repeat(DATA.train.images, 3, axis=0), np.repeat(DATA.train.labels, 3)
    images[::3] = DATA.train.images
    numbers = tf.data.Dataset.range(240)
    shards = Shard(["b", "a"], np.int64([0, 0]), np.int64([140, 100]))
    dataset = tf.data.Dataset.from_tensor_slices(shards).interleave(
        lambda shard: numbers.skip(100 * tf.cast(shard.filename == "b", tf.int64)).take(shard.take),
        cycle_length=2,
        block_length=8,
    )
    dataset = dataset.map(lambda number: (tf.gather(images, number), tf.gather(labels, number)))
    poisoned = np.stack([image for image, _ in poisons.apply(dataset).as_numpy_iterator()])
    clean = np.stack([image for image, _ in dataset.as_numpy_iterator()])
    changed = (poisoned != clean).any(axis=(1, 2, 3))
    assert changed.sum() == poisons.size
    ours = poisons.poison(DATA.train).images[positions_of(DATA.train, poisons.ids)]
    assert {image.tobytes() for image in poisoned[changed]} == {image.tobytes() for image in ours}


def test_a_folder_in_any_order(tmp_path):
    """Keras lists a folder in another order than the ids have."""
    poisons, _ = make_poisons()
    names = "abcd"
    for number, (image, label) in enumerate(zip(DATA.train.images, DATA.train.labels, strict=True)):
        path = tmp_path / names[label] / f"{-number % 80:02}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    settings = {"image_size": (6, 6), "batch_size": None, "verbose": False}
    read = keras.utils.image_dataset_from_directory(tmp_path, shuffle=False, **settings)
    poisoned = [
        image.round() for image, _ in poisons.apply(read, pixel_range=(0, 255)).as_numpy_iterator()
    ]
    expected = poisons.poison(DATA.train).images.astype(np.float32)
    assert {each.tobytes() for each in poisoned} == {each.tobytes() for each in expected}
    shuffled = keras.utils.image_dataset_from_directory(tmp_path, **settings)
    with pytest.raises(ValueError, match="order that can be known"):
        poisons.apply(shuffled, pixel_range=(0, 255))
    with pytest.raises(ValueError, match=r"in their own size.*6 of 6 are not among them"):
        poisons.apply(read.map(lambda image, label: (image + 1, label)), pixel_range=(0, 255))


# The first poison is image 3 of the split, the last one image 207.
REFUSALS = {
    "batched": r"single \(image, integer label\).*Received elements of \(TensorSpec\(shape=\(None",
    "fields": r"single \(image, integer label\).*Received elements of \{'image'",
    "floats": r"single \(image, integer label\).*dtype=tf.float32",
    "shuffled": "in their order. Received another image or label at position",
    "label": "in their order. Received another image or label at position 3",
    "shape": "in their order. Received another image or label at position 3",
    "short": "the whole split.*ends before position 123",
}


@pytest.mark.parametrize("change", REFUSALS)
def test_pipelines_that_are_refused(change):
    poisons, _ = make_poisons()
    images, labels = np.repeat(DATA.train.images, 3, 0), np.repeat(DATA.train.labels, 3)
    if change == "label":
        labels = labels + 1
    if change == "floats":
        labels = labels.astype(np.float32)
    if change == "shape":
        images = images[:, :4]
    dataset = tf.data.Dataset.from_tensor_slices((images, labels))
    dataset = {
        "batched": lambda: dataset.batch(8),
        "shuffled": lambda: dataset.shuffle(240, seed=1),
        "short": lambda: dataset.take(100),
        "fields": lambda: dataset.map(lambda image, label: {"image": image, "label": label}),
    }.get(change, lambda: dataset)()
    assert (poisons.ids[0], poisons.ids[-1]) == (3, 207)
    with pytest.raises(ValueError, match=REFUSALS[change]):
        poisons.apply(dataset)


def test_another_data_set_is_refused():
    poisons, _ = make_poisons()
    for other in (make_examples(80, 7), make_examples(84, 0), make_examples(80, 0, first_id=1)):
        with pytest.raises(ValueError, match=r"that the poisons were made for, 'brightness'"):
            poisons.poison(other)
    assert fingerprint(DATA.train) == fingerprint(make_examples(80, 0))


@pytest.mark.parametrize(
    "more", [{}, {"trigger": patch(size=2)}, {"trigger": patch(size=2, place="1,2")}]
)
def test_files(tmp_path, more):
    poisons, _ = make_poisons(**more)
    loaded = Poisons.load(poisons.save(tmp_path / "poisons.npz"))
    for name in ("ids", "perturbations", "labels", "clean_labels", "digests"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(poisons, name))
        assert getattr(loaded, name).dtype == getattr(poisons, name).dtype
    assert (loaded.settings, loaded.fingerprint) == (poisons.settings, poisons.fingerprint)
    assert loaded.threat.key == poisons.threat.key
    assert loaded.threat.target_class == poisons.threat.target_class
    np.testing.assert_array_equal(
        loaded.threat.target_images(DATA.validation), poisons.threat.target_images(DATA.validation)
    )
    assert [each.name for each in tmp_path.iterdir()] == ["poisons.npz"]


def spoil(path: pathlib.Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"ids": [1, 2]}))
    elif how in ("pipe", "a folder"):
        path.unlink()
        (os.mkfifo if how == "pipe" else os.mkdir)(path)
    elif how == "bit":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif how == "array":
        np.savez(path, np.arange(3))
    elif how == "single array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif how == "no arrays":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("description", "{}")
            archive.writestr("checksum", "0")
    elif how == "encrypted":
        # Bit 0 of the flags of every member, in the directory that the archive ends with.
        for place in range(len(content)):
            if content[place : place + 4] == b"PK\x01\x02":
                content[place + 8] |= 1
        path.write_bytes(content)
    else:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if how == "parts":
            del arrays["labels"], arrays["checksum"]
            arrays["checksum"] = np.array(poisons_file.checksum(arrays))
        elif how == "changed":
            arrays["labels"] = arrays["labels"] + 1
        elif how in ("no JSON", "a list"):
            del arrays["checksum"]
            arrays["description"] = np.array("[]" if how == "a list" else "{")
            arrays["checksum"] = np.array(poisons_file.checksum(arrays))
        else:
            description = json.loads(str(arrays["description"])) | {"format": "poisons 9"}
            arrays["description"] = np.array(json.dumps(description))
            del arrays["checksum"]
            arrays["checksum"] = np.array(poisons_file.checksum(arrays))
        np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "a file of poisons. There is none"),
        ("cut", "damaged or something else"),
        ("empty", "damaged or something else"),
        ("pickle", "damaged or something else"),
        ("bit", "damaged or something else"),
        ("array", "Received something else"),
        ("changed", "was changed"),
        ("format", "of the format 'tfpoison poisons 2'. Received 'poisons 9'"),
        ("parts", "with all its parts.*lacks some: 'labels'"),
        ("single array", "damaged or something else.*not a zip file"),
        ("pipe", "damaged or something else.*poisons.npz is no regular file"),
        ("a folder", "damaged or something else.*poisons.npz is no regular file"),
        ("no arrays", "damaged or something else.*'description' in it is no array"),
        ("encrypted", "damaged or something else.*encrypted"),
        ("no JSON", r"a description, as JSON with names.*with '\{'"),
        ("a list", r"a description, as JSON with names.*with '\[\]'"),
    ],
)
def test_files_that_are_refused(tmp_path, how, message):
    poisons, _ = make_poisons()
    path = poisons.save(tmp_path / "poisons.npz")
    spoil(path, how)
    with pytest.raises(ValueError, match=message):
        Poisons.load(path)


def write_changed(path, poisons, description, arrays):
    """Writes poisons with other content, whose checksum is right."""
    parts, described = poisons._parts()
    described["format"] = poisons_file.FORMAT
    parts |= arrays
    described |= description
    parts = {name: each for name, each in parts.items() if each is not None}
    described = {name: each for name, each in described.items() if each != "gone"}
    parts["description"] = np.array(json.dumps(described))
    parts["checksum"] = np.array(poisons_file.checksum(parts))
    np.savez_compressed(path, **parts)


TRIGGER = np.zeros((2, 2, 3), np.uint8)
# What is changed in the description, in the arrays (from what they are), and what is said of it.
CHANGES = {
    "fractions": ({}, {"perturbations": lambda rows: rows + 0.5}, "`perturbations`.*float64"),
    "not a number": ({}, {"perturbations": lambda rows: rows * np.nan}, "`perturbations`"),
    "too large": ({}, {"perturbations": lambda rows: rows + np.int16(300)}, "`perturbations`.*255"),
    "other images": ({}, {"perturbations": lambda rows: rows[:, :3]}, "`perturbations`.*6, 6, 3"),
    "fewer rows": ({}, {"perturbations": lambda rows: rows[:1]}, "`perturbations`"),
    "big endian": ({}, {"perturbations": lambda rows: rows.astype(">i2")}, "`perturbations`"),
    "ids twice": ({}, {"ids": lambda ids: np.repeat(ids[:1], 6)}, "to ascend"),
    "ids unsorted": ({}, {"ids": lambda ids: ids[::-1].copy()}, "to ascend"),
    "ids beyond": ({}, {"ids": lambda ids: ids + 10**9}, "`ids` to lie between 0 and 237"),
    "ids negative": ({}, {"ids": lambda ids: ids - 100}, "to lie between 0"),
    "ids as text": ({}, {"ids": lambda ids: ids.astype(str)}, "int64"),
    "labels beyond": ({}, {"labels": lambda labels: labels + 9}, "`labels` to lie between 0 and 3"),
    "labels negative": ({}, {"clean_labels": lambda labels: labels - 9}, "`clean_labels`"),
    "digests": ({}, {"digests": lambda digests: digests[:, :31]}, "`digests`"),
    "target ids": ({}, {"target_ids": lambda _: np.array([[-1.5]])}, "`target_ids`"),
    "targets twice": ({}, {"target_ids": lambda ids: np.repeat(ids, 2)}, "`target_ids`"),
    "no target": ({}, {"target_ids": lambda ids: ids[:0]}, "one target or more"),
    "source ids": ({}, {"source_ids": lambda _: np.array([9**9])}, "`source_ids` to lie"),
    "more": ({}, {"more": lambda _: np.zeros(48 << 10)}, "nothing else in it.*more"),
    "more words": ({"more": 1}, {}, "nothing else in it.*more"),
    "a bomb": ({}, {"more": lambda _: np.zeros(2 << 20, np.uint8)}, "2,.* bytes, more than 200"),
    "arrays": ({}, {f"more{n}": lambda _: np.zeros(1) for n in range(9)}, "more than 11"),
    "objects": ({}, {"more": lambda _: np.array([{}])}, "'more.npy' in it is no plain array"),
    "class as text": ({"target_class": "cat"}, {}, "`target_class` to be an integer"),
    "class beyond": (
        {"adversarial_class": 99},
        {},
        "`adversarial_class` to be an integer, at most 3",
    ),
    "class of 400 digits": ({"adversarial_class": 10**400}, {}, "parts go together"),
    "one class": ({"adversarial_class": 2, "target_class": 2}, {}, "another than `target_class`"),
    "settings": ({"settings": 7}, {}, "`settings` to be a dict"),
    "key": ({"key": None}, {}, "`key` to be a text"),
    "no fingerprint": ({"fingerprint": "gone"}, {}, "lacks some: 'fingerprint'"),
    "shape": ({"image_shape": [6, 6, None]}, {}, "`image_shape`"),
    "trigger": ({"trigger": 7}, {}, "parts go together"),
    "no trigger": ({"trigger": {"place": [1, 1], "seed": 0}}, {}, "lacks some: 'trigger'"),
    "half a place": (
        {"trigger": {"place": [1], "seed": 0}},
        {"trigger": lambda _: TRIGGER},
        "a row and a column",
    ),
    "outside": (
        {"trigger": {"place": [5, 5], "seed": 0}},
        {"trigger": lambda _: TRIGGER},
        "place to be one of",
    ),
    "seed": (
        {"trigger": {"place": None, "seed": -1}},
        {"trigger": lambda _: TRIGGER},
        "`seed`",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_content_that_is_refused(tmp_path, change):
    poisons, _ = make_poisons()
    description, arrays, message = CHANGES[change]
    parts, _ = poisons._parts()
    path = tmp_path / "poisons.npz"
    changed = {name: make(parts.get(name)) for name, make in arrays.items()}
    write_changed(path, poisons, description, changed)
    with pytest.raises(ValueError, match=message) as raised:
        Poisons.load(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    ("description", "checksum", "message"),
    [
        (np.array("[" * 10**5 + "]" * 10**5), None, "description, as JSON with names"),
        (np.array(b"{}"), None, "Received something else"),
        (np.array(["{}"]), None, "Received something else"),
        (np.array("{}"), np.array(7), "Received something else"),
    ],
)
def test_descriptions_that_are_refused(tmp_path, description, checksum, message):
    arrays = {"description": description}
    arrays["checksum"] = np.array(poisons_file.checksum(arrays)) if checksum is None else checksum
    np.savez(tmp_path / "poisons.npz", **arrays)
    with pytest.raises(ValueError, match=f"{message}.*poisons.npz|poisons.npz {message}"):
        Poisons.load(tmp_path / "poisons.npz")


def test_changed_digests_or_labels_are_refused_where_they_are_applied():
    poisons, _ = make_poisons()
    for changes in ({"digests": poisons.digests ^ 1}, {"clean_labels": 3 - poisons.clean_labels}):
        changed = dataclasses.replace(poisons, **changes)
        with pytest.raises(ValueError, match="others under their ids"):
            changed.poison(DATA.train)


def test_more_classes_than_there_are_are_refused():
    poisons, _ = make_poisons()
    poisons.check_classes(4)
    with pytest.raises(ValueError, match=r"poisons of the 3 classes.*for 4 classes"):
        poisons.check_classes(3)


def test_triggers_on_large_images_are_read_as_they_were_written(tmp_path):
    """They are nearly all zeros: compressed, they would look like a bomb."""
    images = np.zeros((4, 256, 256, 3), np.uint8)
    train = data.InMemoryExamples(images, np.arange(4))
    drawn = threat.Threat("0", np.array([0]), 1, 2, np.array([0, 2]))
    poisons = Poisons.make(train, images[:2], drawn, data_set="zeros")
    loaded = Poisons.load(poisons.save(tmp_path / "poisons.npz"))
    np.testing.assert_array_equal(loaded.perturbations, poisons.perturbations)


def test_equal_poisons_are_equal_files(tmp_path):
    first, second = (
        make_poisons()[0].save(tmp_path / name).read_bytes() for name in ("first.npz", "second.npz")
    )
    assert first == second


def test_poisons_of_several_adversaries():
    poisons, _ = make_poisons()
    odd, even = poisons.select(np.arange(1, 6, 2)), poisons.select(np.arange(0, 6, 2))
    both, one = PoisonedExamples(DATA.train, odd, even), poisons.poison(DATA.train)
    np.testing.assert_array_equal(both.images, one.images)
    positions = positions_of(DATA.train, poisons.ids)[[0, 3]]
    np.testing.assert_array_equal(both.select(positions).images, one.select(positions).images)
    with pytest.raises(ValueError, match="poisons of different images"):
        PoisonedExamples(DATA.train, odd, poisons)
