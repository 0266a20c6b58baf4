"""Keras finds the classes of saved models before anything of the package was used."""

import os
import subprocess
import sys

import keras
import numpy as np

from tfpoison import RobustModel, attacks, saved_models


def test_a_saved_model_is_loaded_by_a_stand_in(tmp_path, monkeypatch):
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(3))
    model = RobustModel(network, attack=attacks.get("evasion"))
    model(np.zeros((1, 4, 4, 1)))
    model.save(tmp_path / "model.keras")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "tfpoison>RobustModel")
    saved_models.register()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is RobustModel and loaded.attack == model.attack


SCRIPT = """
import sys, tfpoison
assert "keras" not in sys.modules
import keras
print(*sorted(keras.known))
"""


def test_stand_ins_are_registered_when_keras_is_imported(tmp_path):
    (tmp_path / "keras.py").write_text(
        "import types\nknown = {}\nsaving = types.SimpleNamespace(get_custom_objects=lambda: known)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", os.getcwd())])
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-c", SCRIPT]
    told = subprocess.check_output(command, env=environment, text=True)
    assert told.split() == ["tfpoison>DPSGD", "tfpoison>GradientShaping", "tfpoison>RobustModel"]
