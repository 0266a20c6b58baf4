"""Keras finds the classes of saved models before anything of the package was used."""

import importlib
import os
import pkgutil
import subprocess
import sys

import keras
import numpy as np

import tfpoison
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
    assert set(told.split()) == {f"tfpoison>{name}" for name in saved_models.announced()}
    assert {"tfpoison>DPSGD", "tfpoison>RobustModel", "tfpoison>Additive"} <= set(told.split())


def test_every_class_that_can_be_saved_is_announced():
    for module in pkgutil.walk_packages(tfpoison.__path__, "tfpoison."):
        if module.name != "tfpoison.__main__":
            importlib.import_module(module.name)
    registered = {
        name: each
        for name, each in keras.saving.get_custom_objects().items()
        if name.startswith("tfpoison>")
    }
    # A class takes its stand-in's place; one that had none would be here and not in the list.
    announced = {f"tfpoison>{name}" for name in saved_models.announced()}
    assert len(announced) > 20
    assert registered.keys() == announced
    assert all(isinstance(each, type) for each in registered.values())
