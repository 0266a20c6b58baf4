"""What `RobustModel.fit` says of crafting, and that Keras's own callbacks go with it."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks_to_defend import (
    CLASSES,
    assert_same_bits,
    classes_of_small_data,
    compile_and_fit,
    lagging,
    logits_loss,
    make_data,
    make_network,
    small_network,
)

import tfpoison
from tfpoison.training import callbacks


def test_data_that_leave_no_attack_are_pointed_out_once():
    images, labels = make_data(24, shape=(4, 4, 3))
    model = tfpoison.RobustModel(small_network(), "watermark")
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    fit = {"batch_size": 8, "epochs": 2, "verbose": 0, "shuffle": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(images, labels, **fit)
    for validation in ({}, {"validation_data": (images, labels)}):
        with pytest.warns(UserWarning, match="100% of the targets met no poison") as told:
            model.fit(images, np.sort(classes_of_small_data(24)), **fit, **validation)
        assert len(told) == 1


def test_warmup_epochs_are_plain_training():
    plain, robust = make_network(), make_network()
    compile_and_fit(plain, fit={"epochs": 2})
    model = tfpoison.RobustModel(robust, warmup_epochs=2)
    with pytest.warns(UserWarning, match="ended within the warm-up of 2 epochs"):
        logs = compile_and_fit(model, fit={"epochs": 2})
    assert_same_bits(robust.get_weights(), plain.get_weights())
    assert logs["objective_before"] == logs["objective_after"]
    assert len(logs["objective_before"]) == 2
    plain_logs = plain.fit(*make_data(), 16, initial_epoch=2, epochs=3, verbose=0, shuffle=False)
    logs = model.fit(*make_data(), 16, initial_epoch=2, epochs=3, verbose=0, shuffle=False).history
    assert logs["objective_after"][0] < logs["objective_before"][0]
    assert logs["loss"] != plain_logs.history["loss"]


def test_a_warm_up_leaves_no_gap_in_the_logs(tmp_path):
    """Callbacks that watch the objective see it in every epoch; a second `fit` traces nothing."""
    model = tfpoison.RobustModel(small_network(), "evasion", warmup_epochs=2, steps=1)
    model.compile("sgd", "sparse_categorical_crossentropy")
    traced, craft = [], model._split_and_attack
    object.__setattr__(
        model,
        "_split_and_attack",
        lambda *args, **settings: traced.append(model.crafting) or craft(*args, **settings),
    )
    data = (make_data(32, shape=(4, 4, 3))[0], classes_of_small_data())
    # What is measured in the warm-up stands still, and nobody need be told.
    warnings.simplefilter("error", UserWarning)
    for _ in range(2):
        callbacks = [
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.EarlyStopping("objective_after", mode="max", patience=3),
        ]
        fit = {"batch_size": 16, "epochs": 3, "callbacks": callbacks, "verbose": 0}
        logs = model.fit(*data, **fit).history
        assert {name: len(values) for name, values in logs.items()} == dict.fromkeys(logs, 3)
        assert np.isfinite(list(logs.values())).all()
        header, *rows = (tmp_path / "log.csv").read_text().splitlines()
        assert {"objective_before", "objective_after"} < set(header.split(","))
        assert len(rows) == 3
        assert traced == [False, True]
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(*data, **fit)
    assert traced == [False, True] * 2


def test_a_training_that_goes_on_within_its_warm_up_does_not_warn():
    model = tfpoison.RobustModel(make_network(), "noise_uniform", warmup_epochs=3)
    model.compile("sgd", logits_loss())
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for epoch in (1, 2, 3):
            data = (*make_data(), 16)
            model.fit(*data, initial_epoch=epoch, epochs=epoch + 1, verbose=0)


def test_keras_callbacks(tmp_path):
    network = make_network()
    model = tfpoison.RobustModel(network, "gradient_matching", steps=1)
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.EarlyStopping("loss", mode="max", patience=1),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1),
        keras.callbacks.TensorBoard(tmp_path / "logs", write_graph=False),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    fit = {"epochs": 5, "callbacks": callbacks, "validation_data": make_data()}
    logs = compile_and_fit(model, fit=fit)
    assert len(logs["loss"]) == 2  # The loss falls, which this mode takes for no progress.
    assert keras.models.load_model(tmp_path / "1.keras").compiled
    assert "objective_after" in (tmp_path / "log.csv").read_text()
    assert list((tmp_path / "logs" / "train").iterdir())


def test_a_list_of_callbacks_is_left_as_it_was():
    callbacks = []
    compile_and_fit(tfpoison.RobustModel(make_network()), fit={"callbacks": callbacks})
    assert callbacks == []


def test_pixels_that_hardly_use_the_range_are_pointed_out():
    model = tfpoison.RobustModel(make_network(), pixel_range=(0, 255))
    with pytest.warns(UserWarning, match="hardly use the pixel range"):
        compile_and_fit(model)


def dead():
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu", bias_initializer="ones")]
    network = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(CLASSES)])
    network.layers[1].bias.assign(-100 * network.layers[1].bias)
    return network


def rounding():
    layers = [keras.layers.Rescaling(255.0), keras.layers.Lambda(tf.round), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(CLASSES)])


def frozen_base():
    network = lagging(trainable=False)
    network.layers[1].trainable = False
    return network


@pytest.mark.parametrize(
    ("make", "attack", "moves"),
    [
        (lagging, "evasion", False),
        (frozen_base, "gradient_matching_fast", False),
        (dead, "evasion", False),
        (rounding, "gradient_matching_fast", False),
        (make_network, "gradient_matching_fast", True),
        (make_network, "evasion", True),
    ],
)
def test_crafting_that_moves_nothing_is_told(make, attack, moves):
    model = tfpoison.RobustModel(make(), attack, steps=1)
    told = pytest.warns(UserWarning, match="does not lower its objective.* → .*momentum")
    with warnings.catch_warnings() if moves else told:
        warnings.filterwarnings("error" if moves else "default", "Crafting")
        compile_and_fit(model, make_data(16), run_eagerly=True, fit={"epochs": 1})


@pytest.mark.parametrize(
    ("measured", "count"),
    [
        ([(1.0, 0.9), (1.0, 1.0)], 1),
        ([(1.0, 1.0), (0.5, 0.5), (0.4, 0.4)], 1),
        ([(1.0, 1.1), (-1.0, -0.9)], 1),
        ([(1.0, 1.1), (1.0, 1.2), (1.0, 1.3)], 1),
        ([(0.0, 0.0)], 1),
        ([(1.0, 1.1)], 0),
        ([(1.0, 1.0), (1.0, 0.9)], 0),
        ([(1.0, 1.0), (1.0, 0.9), (1.0, 1.1), (1.0, 1.1)], 0),
        ([(float("nan"), float("nan"))] * 3, 0),
    ],
)
def test_when_crafting_in_vain_is_told(measured, count):
    check = callbacks.CraftingCheck()
    check.set_model(tfpoison.RobustModel(make_network(), "evasion"))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for epoch, (before, after) in enumerate(measured):
            check.on_epoch_end(epoch, {"objective_before": before, "objective_after": after})
        check.on_train_end()
    assert len(told) == count


def test_statistics_of_the_batch_move_what_lagging_ones_do_not():
    changes, network = [], lagging()
    before = network.get_weights()
    images, labels = make_data(16)
    for batch_statistics in (False, True):
        model = tfpoison.RobustModel(network, "evasion", batch_statistics=batch_statistics)
        model.compile("sgd", logits_loss())
        crafted = model.craft(images, labels)
        assert_same_bits(network.get_weights(), before)
        losses = [model.classifier().loss(each, labels) for each in crafted[:2]]
        changes.append(float(losses[1] - losses[0]))
        assert model.from_config(model.get_config()).batch_statistics == batch_statistics
    assert abs(changes[0]) < 1e-5
    assert changes[1] > 1e-2
