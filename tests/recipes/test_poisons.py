"""Poisons: applied to the bit, saved, and refused where they do not belong."""

import json
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from data_sets import make_data_set, make_examples

from tfpoison import data
from tfpoison.recipes import PoisonedExamples, Poisons, ThreatSettings, TrialKey, threat
from tfpoison.recipes.poisons import _checksum, fingerprint
from tfpoison.recipes.threat import positions_of

DATA = make_data_set()


def make_poisons(**more):
    drawn = threat.draw(
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
    poisons, _ = make_poisons(trigger={"size": 2})
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
    "more", [{}, {"trigger": {"size": 2}}, {"trigger": {"size": 2, "place": "1,2"}}]
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
            arrays["checksum"] = np.array(_checksum(arrays))
        elif how == "changed":
            arrays["labels"] = arrays["labels"] + 1
        elif how in ("no JSON", "a list"):
            del arrays["checksum"]
            arrays["description"] = np.array("[]" if how == "a list" else "{")
            arrays["checksum"] = np.array(_checksum(arrays))
        else:
            description = json.loads(str(arrays["description"])) | {"format": "poisons 9"}
            arrays["description"] = np.array(json.dumps(description))
            del arrays["checksum"]
            arrays["checksum"] = np.array(_checksum(arrays))
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
        ("format", "of the format 'tfpoison poisons 1'. Received 'poisons 9'"),
        ("parts", "with all its parts.*lacks some: 'labels'"),
        ("single array", "damaged or something else.*a single array"),
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
