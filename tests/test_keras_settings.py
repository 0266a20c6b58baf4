"""Settings of Keras under which nothing here would be right."""

import json
import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

import tfpoison
from tfpoison import keras_settings, networks
from tfpoison.data import AUGMENTATIONS
from tfpoison.defenses import mixing
from tfpoison.perturbations.patches import image_sides

IMAGES = tf.zeros([2, 8, 8, 3])


def refusal(**environment):
    """Returns what importing the package says before Keras is imported."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("KERAS")}
    process = subprocess.run(
        [sys.executable, "-c", "import tfpoison"],
        env=others | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.returncode == 1
    return process.stderr


def test_another_backend_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    for environment, backend in (
        ({"KERAS_BACKEND": "jax"}, "jax"),
        ({"KERAS_HOME": str(tmp_path)}, "torch"),
    ):
        told = refusal(**environment)
        assert f"backend '{backend}'. Set KERAS_BACKEND=tensorflow" in told
        assert told.count("Traceback") == 1
        assert "site-packages" not in told  # Keras was not even imported.


def test_a_backend_that_runs_already_is_refused(monkeypatch):
    keras_settings.check_backend()
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="'jax'"):
        keras_settings.check_backend()


@pytest.mark.parametrize(
    ("home", "backend", "chosen"),
    [
        ('{"backend": "jax"}', None, "jax"),
        ("{}", "", "tensorflow"),
        ("no JSON", None, "tensorflow"),
    ],
)
def test_the_backend_that_keras_will_choose(home, backend, chosen, tmp_path, monkeypatch):
    (tmp_path / "keras.json").write_text(home)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    assert keras_settings._configured_backend() == chosen


def channels_first_layer(kind, **settings):
    layer = kind(data_format="channels_first", **settings)
    return keras.Sequential([keras.Input((3, 8, 8)), keras.Sequential([layer])])


@pytest.mark.parametrize(
    "make",
    [
        lambda: channels_first_layer(keras.layers.Conv2D, filters=2, kernel_size=3),
        lambda: channels_first_layer(keras.layers.GlobalAveragePooling2D),
    ],
)
def test_layers_with_channels_first_are_refused(make):
    with pytest.raises(ValueError, match=r"channels_last.*in layer"):
        tfpoison.RobustModel(make(), "patch")


def test_channels_first_everywhere_is_refused():
    dense = keras.Sequential([keras.Input((3, 8, 8)), keras.layers.Flatten()])
    keras.config.set_image_data_format("channels_first")
    try:
        for use in (
            lambda: tfpoison.RobustModel(dense),
            lambda: networks.get("mlp", (8, 8, 3), 3),
            lambda: image_sides(IMAGES),
            lambda: mixing.get("cutout").mix(None, IMAGES, tf.zeros([2]), tf.zeros([2], tf.int32)),
            lambda: AUGMENTATIONS.get("shift_flip")(IMAGES, tf.zeros([2], tf.int32)),
        ):
            with pytest.raises(ValueError, match="set_image_data_format"):
                use()
    finally:
        keras.config.set_image_data_format("channels_last")
