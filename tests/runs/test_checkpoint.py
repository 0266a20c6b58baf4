"""Checkpoints: every variable comes back, replica by replica."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison.runs.checkpoint import FILE, Checkpoint
from tfpoison.runs.run_directory import RunDirectory

rng = np.random.default_rng(0)
IMAGES, LABELS = rng.random((24, 6, 6, 1), dtype="float32"), rng.integers(0, 3, 24)


def make_model(seed, units=3, attack="noise_uniform"):
    keras.utils.set_random_seed(seed)
    network = keras.Sequential(
        [
            keras.layers.Input((6, 6, 1)),
            keras.layers.Conv2D(2, 3),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.2),
            keras.layers.Flatten(),
            keras.layers.Dense(units),
        ]
    )
    model = tfpoison.RobustModel(network, attack)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def fit(model, checkpoint, epochs):
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(8)
    # An objective may be NaN, of which JSON has none.
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(watched=float("nan"))
    )
    callbacks = [watch, checkpoint]
    model.fit(data, initial_epoch=checkpoint.epoch, epochs=epochs, callbacks=callbacks, verbose=0)


def values(model):
    local = model.distribute_strategy.experimental_local_results
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(part) for variable in variables for part in local(variable.value)]


@pytest.mark.parametrize(("replicas", "attack"), [(1, "universal"), (2, "noise_uniform")])
def test_a_training_goes_on(tmp_path, replicas, attack, two_cpus):
    """What an attack keeps from step to step as well."""
    scope = two_cpus.scope if replicas == 2 else contextlib.nullcontext
    with scope():
        whole = make_model(0, attack=attack)
    (tmp_path / "whole").mkdir()
    fit(whole, Checkpoint(RunDirectory(tmp_path / "whole", {}), seconds=0), 3)
    with scope():
        first, second = make_model(0, attack=attack), make_model(1, attack=attack)
    directory = RunDirectory(tmp_path, {})
    fit(first, Checkpoint(directory, seconds=0), 1)
    resumed = Checkpoint(directory, seconds=0)
    assert resumed.epoch == 1
    fit(second, resumed, 3)
    for ours, theirs in zip(values(second), values(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [row["epoch"] for row in resumed.rows] == [1, 2, 3]
    assert all(np.isnan(row["watched"]) for row in resumed.rows)
    assert (tmp_path / "metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()


def test_moving_statistics_are_those_of_each_replica(tmp_path, two_cpus):
    """Each replica sees other images, and so has other statistics: both are kept."""
    with two_cpus.scope():
        model = make_model(0)
    fit(model, Checkpoint(RunDirectory(tmp_path, {}), seconds=0), 1)
    with np.load(tmp_path / FILE) as archive:
        kept = [archive[name] for name in archive.files if archive[name].shape == (2, 2)]
    assert any((one != other).any() for one, other in kept)


def test_another_network_is_refused(tmp_path):
    directory = RunDirectory(tmp_path, {})
    fit(make_model(0), Checkpoint(directory, seconds=0), 1)
    with pytest.raises(ValueError, match="another number of devices"):
        fit(make_model(0, units=4), Checkpoint(directory, seconds=0), 2)
