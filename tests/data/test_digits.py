"""The digits are those of scikit-learn, in an order that stays."""

import hashlib

import numpy as np
import pytest
import sklearn.datasets

from tfpoison import data


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def test_sizes_and_classes(digits):
    assert (digits.train.size, digits.validation.size) == (1280, 517)
    assert digits.class_names == tuple("0123456789")
    assert digits.classes == 10
    assert digits.image_shape == (8, 8, 1)
    for examples in (digits.train, digits.validation):
        # 1,797 digits, ten classes: each has between 9 % and 11 % of either split.
        share = np.bincount(examples.labels, minlength=10) / examples.size
        assert 0.09 < share.min() <= share.max() < 0.11


def test_images_are_those_of_scikit_learn(digits):
    original = sklearn.datasets.load_digits()
    expected = {
        np.round(image * 255 / 16).astype("uint8").tobytes(): label
        for image, label in zip(original.images, original.target, strict=True)
    }
    images = np.concatenate([digits.train.images, digits.validation.images])
    labels = np.concatenate([digits.train.labels, digits.validation.labels])
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    found = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert found == expected


def test_every_load_is_the_same(digits):
    again = data.load("digits")
    np.testing.assert_array_equal(again.train.images, digits.train.images)
    np.testing.assert_array_equal(again.validation.labels, digits.validation.labels)


def test_the_order_is_that_of_recorded_experiments(digits):
    """TensorFlow Datasets kept them in it."""
    splits = (digits.train, digits.validation)
    content = [array.tobytes() for each in splits for array in (each.images, each.labels)]
    assert hashlib.sha256(b"".join(content)).hexdigest() == (
        "b8d2952b551462d0e2fcbcc68a08e97dbce01edf1c0a0340e02ab5caae19e04a"
    )


def test_nothing_is_written_or_printed(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data.load("digits", train_size=10)
    assert [*tmp_path.iterdir()] == []
    assert capfd.readouterr().out == ""
