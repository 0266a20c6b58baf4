"""The digits come through a TFDS builder, and are those of scikit-learn."""

import os
import subprocess
import sys

import numpy as np
import pytest
import sklearn.datasets
import tensorflow_datasets as tfds

from tfpoison import data
from tfpoison.data.digits import Digits


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


def test_builder_is_one_of_tfds(tmp_path, digits):
    builder = Digits(data_dir=tmp_path)
    builder.download_and_prepare()
    examples = builder.as_dataset(split="train", as_supervised=True)
    images = np.stack([image for image, _ in tfds.as_numpy(examples)])
    np.testing.assert_array_equal(images, digits.train.images)


def test_nothing_is_left_behind_or_printed(tmp_path):
    program = "from tfpoison import data; data.load('digits')"
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    output = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert list(tmp_path.glob("tfpoison_*")) == []  # TFDS leaves an empty folder of its own.
    assert output == ""


def test_two_processes_at_once():
    program = "from tfpoison import data; print(data.load('digits').train.images.sum())"
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    sums = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sums[0] == sums[1] != ""


def test_data_dir_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither `data_dir` nor `download`"):
        data.check("digits", data_dir=tmp_path)
