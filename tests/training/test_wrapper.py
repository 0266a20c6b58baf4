"""The model around a network answers, is saved, loaded and exported as that network."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks_to_defend import (
    CLASSES,
    Subclassed,
    assert_same_bits,
    compile_and_fit,
    differs,
    logits_loss,
    make_data,
    make_network,
    not_built,
    small_network,
)

import tfpoison


@pytest.mark.parametrize(
    "compile_settings",
    [
        {"steps_per_execution": 3},
        {"run_eagerly": True},
        {"optimizer": keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)},
        {"optimizer": keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=1.0)},
        {"optimizer": keras.optimizers.SGD(0.1, global_clipnorm=1.0, weight_decay=1e-3)},
        {"optimizer": keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=2)},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_what_compile_takes(compile_settings):
    network = make_network(dropout=0.1)
    check_training(tfpoison.RobustModel(network, steps=2), make_data(), compile_settings)


def test_compiled_by_xla():
    """One program crafts and trains. For every size of batches it takes seconds to compile."""
    data = make_data(16, shape=(4, 4, 3))
    model = tfpoison.RobustModel(small_network(activation=None), "evasion", steps=2)
    check_training(model, data, {"jit_compile": True})


@pytest.mark.parametrize(
    ("policy", "attack", "compiles"),
    [
        ("mixed_bfloat16", "gradient_matching", False),
        ("mixed_float16", "metapoison", False),
        ("float32", "gradient_matching", True),
        ("mixed_bfloat16", tfpoison.attacks.get("gradient_matching", weights="last"), True),
        ("mixed_bfloat16", "gradient_matching_fast", True),
        ("mixed_bfloat16", "evasion", True),
    ],
)
def test_what_xla_cannot_compile(policy, attack, compiles):
    """Maximum pooling has no second derivative in half precision there: Keras is told so."""
    keras.config.set_dtype_policy(policy)
    network = tfpoison.networks.get("convnet_fast", image_shape=(16, 16, 3), classes=3)
    model = tfpoison.RobustModel(network, attack)
    assert model.supports_jit == compiles
    model.compile("sgd", logits_loss(), jit_compile=True)
    assert model.jit_compile == compiles


def test_transforms_that_xla_cannot_compile():
    model = tfpoison.RobustModel(make_network(), attack=None, transform="jpeg")
    model.compile("sgd", logits_loss(), jit_compile=True)
    assert not model.jit_compile


def check_training(model, data, compile_settings):
    before = model.network.get_weights()
    logs = compile_and_fit(model, data, **compile_settings)
    assert np.isfinite(logs["loss"]).all()
    assert logs["objective_after"][0] < logs["objective_before"][0]
    assert differs(model.network.get_weights(), before)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    network = make_network()
    model = tfpoison.RobustModel(network, steps=2)
    model.compile("sgd", logits_loss())
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    images, labels = make_data()
    crafted = model.craft(images, labels)
    moved = crafted.poisoned[:33] - images[:33]
    assert crafted.poisoned.dtype == tf.float32
    assert np.isfinite(moved).all()
    assert np.abs(moved).mean() > 0.01
    logs = compile_and_fit(model)
    assert np.isfinite(logs["loss"]).all()
    assert logs["objective_after"][0] < logs["objective_before"][0]


@pytest.mark.parametrize(
    ("first", "last", "scaled"),
    [
        ("mixed_float16", "mixed_float16", True),
        ("float32", "mixed_float16", True),
        ("float16", "float16", True),
        ("mixed_bfloat16", "bfloat16", False),
        ("float32", "float64", False),
    ],
)
def test_gradients_are_scaled_where_a_layer_computes_in_half_precision(first, last, scaled):
    """Whatever the policy of the network itself: Keras forgets it when a network is saved."""
    layers = [keras.layers.Flatten(dtype=first), keras.layers.Dense(CLASSES, dtype=last)]
    network = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    model = tfpoison.RobustModel(network, "gradient_matching_fast")
    model.compile("sgd", logits_loss(), run_eagerly=True)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    assert (model.classifier().loss_scale > 1) == scaled
    images, labels = make_data(8)
    assert np.isfinite(model.fit(images, labels, verbose=0).history["loss"]).all()
    assert (model(images).numpy() == network(images).numpy()).all()


@pytest.mark.parametrize("make", [not_built, Subclassed])
@pytest.mark.parametrize("attack", [None, "gradient_matching_fast"])
def test_a_network_that_is_not_built_yet(make, attack):
    settings = {"steps": 0, "epsilon": 0.0} if attack else {}
    networks = []
    for wrap in (lambda each: each, lambda each: tfpoison.RobustModel(each, attack, **settings)):
        keras.utils.set_random_seed(1)
        networks.append(make())
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            compile_and_fit(wrap(networks[-1]), optimizer="sgd", run_eagerly=True)
    plain, ours = (network.get_weights() for network in networks)
    assert_same_bits(ours, plain)


def test_subclassed_network():
    logs = compile_and_fit(tfpoison.RobustModel(Subclassed(), steps=1))
    assert logs["objective_after"][0] < logs["objective_before"][0]
    with pytest.raises(ValueError, match="features=layer_or_name"):
        tfpoison.RobustModel(Subclassed(), attack="feature_collision")
    model = tfpoison.RobustModel(Subclassed(), attack="feature_collision", features="features")
    assert np.isfinite(compile_and_fit(model)["loss"]).all()


def test_evaluate_and_predict_are_those_of_the_network():
    network = make_network(dropout=0.5)
    model = tfpoison.RobustModel(network)
    logs = compile_and_fit(model, fit={"validation_data": make_data()})
    network.compile("sgd", logits_loss(), metrics=["accuracy"])
    images, labels = make_data()
    theirs = network.evaluate(images, labels, verbose=0, return_dict=True)
    assert model.evaluate(images, labels, verbose=0, return_dict=True) == theirs
    assert logs["val_loss"][-1] == pytest.approx(theirs["loss"])
    assert model.evaluate(images, labels, verbose=0) == [theirs["loss"], theirs["accuracy"]]
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), network.predict(images, verbose=0)
    )
    assert set(logs) == {
        *("loss", "accuracy", "val_loss", "val_accuracy"),
        *("objective_before", "objective_after"),
    }


def test_it_is_exported_as_its_network(tmp_path):
    images, _ = make_data(4, shape=(4, 4, 3))
    model = tfpoison.RobustModel(small_network(), "noise_uniform")
    expected = model.network(images)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(images), expected, atol=1e-6)
    content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    interpreter = tf.lite.Interpreter(model_content=content)
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 4, 4, 3]
    assert keras.models.clone_model(model).get_config()["attack"] == model.get_config()["attack"]


def test_weights_of_the_network_are_loaded_as_its_own(tmp_path):
    theirs, ours = small_network(), tfpoison.RobustModel(small_network(), "noise_uniform")
    theirs.set_weights([1 + each for each in theirs.get_weights()])
    theirs.save_weights(tmp_path / "network.weights.h5")
    ours.load_weights(tmp_path / "network.weights.h5")
    assert_same_bits(ours.network.get_weights(), theirs.get_weights())
    ours.save_weights(tmp_path / "model.weights.h5")
    again = tfpoison.RobustModel(small_network(), "noise_uniform")
    again.load_weights(tmp_path / "model.weights.h5")
    assert_same_bits(again.network.get_weights(), theirs.get_weights())
    other = tfpoison.RobustModel(small_network(units=2), "noise_uniform")
    with pytest.raises(ValueError, match="could not be loaded"):
        other.load_weights(tmp_path / "network.weights.h5")


def test_half_precision_survives_saving(tmp_path):
    """Loaded under the usual policy, the model still scales its loss, and goes on with its bits."""
    keras.config.set_dtype_policy("mixed_float16")
    model = tfpoison.RobustModel(make_network(), "evasion", steps=1)
    compile_and_fit(model, fit={"epochs": 1})
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.network.dtype_policy.name == loaded.dtype_policy.name == "mixed_float16"
    assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
    for each in (model, loaded):
        each.fit(*make_data(), batch_size=16, epochs=2, verbose=0, shuffle=False)
    assert_same_bits(loaded.network.get_weights(), model.network.get_weights())


@pytest.mark.parametrize("make", [make_network, Subclassed])
def test_a_loaded_model_goes_on_training(make, tmp_path):
    data = make_data()
    network = make()
    model = tfpoison.RobustModel(network, epsilon=0.1, steps=1, seed=4, pixel_range=(0, 1))
    compile_and_fit(model, fit={"epochs": 1})
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, tfpoison.RobustModel)
    assert loaded.attack == model.attack
    assert loaded.get_config()["seed"] == 4
    assert loaded.compiled
    for each in (model, loaded):
        each.fit(*data, batch_size=16, epochs=2, verbose=0, shuffle=False)
    assert_same_bits(loaded.network.get_weights(), network.get_weights())


@pytest.mark.parametrize(
    "settings",
    [
        {"attack": None},
        {"attack": "patch"},
        {"target_selection": "half", "pixel_range": ([0, 0, 0], [1, 1, 2]), "matching": "replica"},
        {"attack": "feature_collision", "features": "convolution", "warmup_epochs": 3},
    ],
)
def test_settings_survive_saving(settings):
    model = tfpoison.RobustModel(make_network(), **settings)
    again = tfpoison.RobustModel.from_config(model.get_config())
    ours, theirs = model.get_config(), again.get_config()
    assert ours | {"network": None} == theirs | {"network": None}
    assert again.poison_fraction == model.poison_fraction


def test_the_network_is_saved_by_itself(tmp_path):
    network = make_network()
    compile_and_fit(tfpoison.RobustModel(network))
    network.save(tmp_path / "classifier.keras")
    loaded = keras.models.load_model(tmp_path / "classifier.keras")
    assert type(loaded) is keras.Sequential
    assert_same_bits(loaded.get_weights(), network.get_weights())


class Kill(keras.callbacks.Callback):
    """Ends training in mid-epoch, as a killed process would."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 4:  # The second batch of the second epoch.
            raise KeyboardInterrupt


def test_a_killed_fit_resumes_bit_for_bit(tmp_path):
    """Dropout included: the model's weights hold the state of seed generators as well."""

    def train(callbacks):
        network = make_network(dropout=0.3)
        model = tfpoison.RobustModel(network, steps=1)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        fit = {"epochs": 3, "callbacks": [backup, *callbacks], "batch_size": 22}
        try:
            compile_and_fit(model, fit=fit)
        except KeyboardInterrupt:
            return None
        return network.get_weights()

    expected = train([])
    assert train([Kill()]) is None
    assert_same_bits(train([]), expected)
