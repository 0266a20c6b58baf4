"""Small clean networks, and ones whose answers are known. (Not a test: two tests use them.)"""

import keras
import numpy as np

from tfpoison import defenses
from tfpoison.data import ImageClassification, InMemoryExamples
from tfpoison.experiment.clean_networks import CleanNetworks
from tfpoison.experiment.settings import PretrainingSettings
from tfpoison.experiment.setup import Setup, SetupSettings
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.runs.run_directory import RunDirectory

CLASSES = 4


def make_images():
    """Images of four pixels, of which the brightest tells the class; no two are the same."""

    def examples(count, seed):
        labels = np.arange(count) % CLASSES
        pixels = np.random.default_rng(seed).integers(0, 100, (count, CLASSES))
        pixels[np.arange(count), labels] += 100
        images = pixels.astype(np.uint8).reshape(-1, 2, 2, 1)
        return InMemoryExamples(images, labels, np.arange(count))

    return ImageClassification("pixels", tuple("abcd"), examples(24, 0), examples(16, 1))


def make_reader(never=None):
    """A network that calls images what they are, but none by the name of one class."""
    network = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )
    bias = np.zeros(CLASSES)
    if never is not None:
        bias[never] = -9
    network.set_weights([np.eye(CLASSES), bias])
    return network


def make_clean_networks(directory, images, others=None, *, defended=False, **training):
    """Clean networks of the columns `none` and `noise_uniform`."""
    setup = SetupSettings(
        data=DataSettings(batch_size=32),
        network=NetworkSettings("mlp", width=8),
        training=TrainingSettings(**({"epochs": 1} | training)),
        pretraining=None if others is None else PretrainingSettings(defended=defended),
        defenses={name: defenses.get(name) for name in ("none", "noise_uniform")},
    )
    loaded = Setup(setup, images, others)
    return CleanNetworks(RunDirectory(directory, {}), loaded, checkpoint_seconds=60, verbose=False)
