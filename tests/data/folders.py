"""Small data sets that the tests of this folder make."""

import numpy as np
import tensorflow as tf

from tfpoison.data import InMemoryExamples


def make_examples(size, image_size=4, classes=3):
    """Returns examples whose first pixel tells which one it is."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(size, image_size, image_size, 3)).astype("uint8")
    images[:, 0, 0, 0] = np.arange(size) % 256
    return InMemoryExamples(images, np.arange(size) % classes)


def write_images(folder, count, *, size=(5, 4), channels=3, brightness=100):
    """Writes PNG files 0.png, 1.png, … of one colour each: brightness, brightness + 1, …"""
    folder.mkdir(parents=True)
    for number in range(count):
        image = np.full((*size, channels), brightness + number, np.uint8)
        (folder / f"{number}.png").write_bytes(tf.io.encode_png(image).numpy())
