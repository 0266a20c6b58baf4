"""RobustModel in Keras pipelines of every kind."""

import contextlib
import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison.training import callbacks

IMAGES, CLASSES = 44, 3  # Batches of 16 leave a last one of 12.


def make_data(count=IMAGES, scale=1.0, shape=(8, 8, 3)):
    draw = np.random.default_rng(0)
    images = (scale * draw.uniform(size=(count, *shape))).astype("float32")
    return images, draw.integers(CLASSES, size=count)


def make_network(*, softmax=False, dropout=0.0, functional=False, frozen=False):
    """A network with everything that tells training from inference."""
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Conv2D(4, 3, strides=2, name="convolution"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Dropout(dropout, seed=3),
        keras.layers.Flatten(),
        keras.layers.Dense(CLASSES, activation="softmax" if softmax else None, name="head"),
    ]
    if frozen:
        layers[0].trainable = False
    if not functional:
        return keras.Sequential([keras.Input((8, 8, 3)), *layers])
    inputs = outputs = keras.Input((8, 8, 3))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


@keras.saving.register_keras_serializable("tfpoison_tests")
class Subclassed(keras.Model):
    """A network without a graph, whose `call` does not tell training from inference."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(4, 3, strides=2, activation="relu")
        self.features = keras.layers.Flatten(name="features")
        self.head = keras.layers.Dense(CLASSES)

    def call(self, inputs):
        return self.head(self.features(self.convolution(inputs)))


def logits_loss(**settings):
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, **settings)


def compile_and_fit(model, data=None, *, optimizer="adam", loss=None, fit=None, **compile_settings):
    model.compile(optimizer, loss or logits_loss(), metrics=["accuracy"], **compile_settings)
    settings = {"batch_size": 16, "epochs": 2, "verbose": 0, "shuffle": False} | (fit or {})
    return model.fit(*(data or make_data()), **settings).history


def assert_same_bits(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def differs(ours, theirs):
    return any((one != other).any() for one, other in zip(ours, theirs, strict=True))


# Nothing to craft: the network's own training.


@pytest.mark.parametrize(
    "settings",
    [
        {"attack": None},
        {"steps": 0, "epsilon": 0.0},
        {"steps": 0, "epsilon": 0.0, "target_selection": "half"},
        {"steps": 0, "epsilon": 0.0, "target_selection": "shuffled"},
        {"attack": "evasion", "steps": 0, "epsilon": 0.0},
        {"attack": "noise_normal", "epsilon": 0.0},
    ],
)
@pytest.mark.parametrize("functional", [True, False])
def test_without_perturbation_training_is_that_of_the_network(settings, functional):
    bare = make_network(dropout=0.3, functional=functional)
    logs = compile_and_fit(bare, fit={"validation_split": 0.25, "shuffle": True})
    network = make_network(dropout=0.3, functional=functional)
    model = tfpoison.RobustModel(network, **settings)
    our_logs = compile_and_fit(model, fit={"validation_split": 0.25, "shuffle": True})
    assert_same_bits(network.get_weights(), bare.get_weights())
    assert {name: our_logs[name] for name in logs} == logs


def test_crafting_changes_the_training():
    """The test above can fail."""
    plain, robust = make_network(), make_network()
    compile_and_fit(plain)
    compile_and_fit(tfpoison.RobustModel(robust))
    assert differs(plain.get_weights(), robust.get_weights())


def test_the_training_step_sees_the_crafted_images_in_the_order_of_the_batch():
    """SGD by hand on what `craft` returns gives the weights of `fit`."""
    images, labels = make_data(16)
    model = tfpoison.RobustModel(make_network(), target_selection="half")
    model.compile(keras.optimizers.SGD(0.1), logits_loss())
    crafted = model.craft(images, labels)
    assert crafted.is_poison.numpy().tolist() == [False] * 8 + [True] * 8
    np.testing.assert_array_equal(crafted.poisoned[:8], images[:8])
    assert 0 < np.abs(crafted.poisoned[8:] - images[8:]).max() <= 16 / 255 + 1e-7
    by_hand = make_network()
    by_hand.compile(keras.optimizers.SGD(0.1), logits_loss())
    by_hand.train_on_batch(crafted.poisoned, labels)
    model.train_on_batch(images, labels)
    for one, other in zip(model.network.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


# What users compile and feed.


def one_hot(labels):
    return keras.utils.to_categorical(labels, CLASSES)


LOSSES = {
    "logits": (False, int, logits_loss()),
    "probabilities": (True, int, "sparse_categorical_crossentropy"),
    "one_hot": (True, one_hot, "categorical_crossentropy"),
    "one_hot_logits": (False, one_hot, keras.losses.CategoricalCrossentropy(from_logits=True)),
    "label_smoothing": (
        False,
        one_hot,
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
    ),
    "sum": (False, int, logits_loss(reduction="sum")),
    "function": (
        True,
        int,
        lambda labels, outputs: keras.losses.sparse_categorical_crossentropy(labels, outputs),
    ),
    "binary_focal": (True, one_hot, keras.losses.CategoricalFocalCrossentropy()),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_labels(kind):
    softmax, encode, loss = LOSSES[kind]
    images, labels = make_data()
    labels = one_hot(labels) if encode is one_hot else labels
    model = tfpoison.RobustModel(make_network(softmax=softmax), steps=1)
    logs = compile_and_fit(model, (images, labels), loss=loss)
    assert np.isfinite(logs["loss"]).all()
    assert logs["objective_after"][0] < logs["objective_before"][0]


def small_network(outputs="plain", units=CLASSES, activation="softmax"):
    """A network that is quick to train eagerly, whose output is called "animal"."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4, 4, 3))
    output = keras.layers.Dense(units, activation, name="animal")(keras.layers.Flatten()(inputs))
    structures = {"plain": output, "dictionary": {"animal": output}, "list": [output]}
    return keras.Model(inputs, structures[outputs])


def classes_of_small_data(count=32):
    return np.arange(count) % CLASSES


BY_NAME = {"loss": {"animal": "sparse_categorical_crossentropy"}, "metrics": {"animal": ["acc"]}}
SPARSE = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
ONE_HOT = np.eye(CLASSES)[classes_of_small_data()]


@pytest.mark.parametrize(
    ("network", "compile_settings", "labels"),
    [
        ({}, BY_NAME | {"loss_weights": {"animal": 2.0}}, classes_of_small_data()),
        ({}, SPARSE, [classes_of_small_data()]),
        ({"outputs": "dictionary"}, SPARSE, classes_of_small_data()),
        ({"outputs": "dictionary"}, BY_NAME, {"animal": classes_of_small_data()}),
        ({"outputs": "list"}, BY_NAME, classes_of_small_data()),
        ({}, {"loss": "categorical_crossentropy"}, ONE_HOT.astype(bool)),
        ({"activation": "tanh"}, {"loss": "squared_hinge"}, 2 * ONE_HOT - 1),
        ({"activation": "sigmoid"}, {"loss": "binary_crossentropy"}, ONE_HOT + ONE_HOT[::-1]),
        ({"units": 1, "activation": "tanh"}, {"loss": "hinge"}, 2 * ONE_HOT[:, 0] - 1),
        ({"units": 1, "activation": "sigmoid"}, {"loss": "ce"}, 0.9 * ONE_HOT[:, 0] + 0.05),
    ],
)
def test_what_keras_trains_on_is_trained_on(network, compile_settings, labels):
    """Without a perturbation it is the network's own training, and the objective is measured."""
    images, _ = make_data(32, shape=(4, 4, 3))
    logs = []
    for wrap in (
        lambda each: each,
        lambda each: tfpoison.RobustModel(each, "gradient_matching_fast", steps=0, epsilon=0.0),
    ):
        model = wrap(small_network(**network))
        model.compile("sgd", run_eagerly=True, **compile_settings)
        logs.append(model.fit(images, labels, batch_size=32, verbose=0, shuffle=False).history)
    plain, ours = logs
    assert {name: ours[name] for name in plain} == plain
    assert ours["objective_before"][0] > 0


@pytest.mark.parametrize(
    ("network", "loss", "labels"),
    [
        ({}, "categorical_crossentropy", ONE_HOT.astype(bool)),
        ({"units": 1, "activation": "tanh"}, "hinge", 2 * ONE_HOT[:, 0] - 1),
    ],
)
def test_patches_go_with_any_labels(network, loss, labels):
    """Each class has a patch of its own, which is looked up by its number."""
    images, _ = make_data(32, shape=(4, 4, 3))
    model = tfpoison.RobustModel(small_network(**network), "patch")
    model.compile("sgd", loss)
    crafted = model.craft(images, labels)
    assert (crafted.poisoned != crafted.clean).numpy().any(axis=(1, 2, 3)).all()


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


def test_integers_and_one_hot_craft_the_same():
    images, labels = make_data(16)
    crafted = []
    for targets, loss in (
        (labels, logits_loss()),
        (one_hot(labels), keras.losses.CategoricalCrossentropy(from_logits=True)),
    ):
        model = tfpoison.RobustModel(make_network(), optimizer="pgd", steps=2)
        model.compile("sgd", loss)
        crafted.append(model.craft(images, targets).poisoned.numpy())
    # Signs of gradients that are zero but for rounding may differ: nearly all pixels agree.
    assert (np.abs(crafted[0] - crafted[1]) < 1e-6).mean() > 0.99


def test_one_sigmoid_output():
    images, labels = make_data()
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    )
    logs = compile_and_fit(
        tfpoison.RobustModel(network), (images, labels % 2), loss="binary_crossentropy"
    )
    assert np.isfinite(logs["loss"]).all()
    assert logs["objective_after"][0] < logs["objective_before"][0]


@pytest.mark.parametrize(
    ("weights", "values"),
    [
        ("sample_weight", np.linspace(0, 2, 16).astype("float32")),
        ("class_weight", {0: 0.0, 1: 1.0, 2: 3.0}),
    ],
)
@pytest.mark.parametrize("target_selection", ["share", "half"])
def test_weights_reach_their_examples(weights, values, target_selection):
    """The step weighs each image, poison or target, as Keras's own does; crafting does not."""
    images, labels = make_data(16)
    model = tfpoison.RobustModel(make_network(), steps=1, target_selection=target_selection)
    by_hand = make_network()
    for each in (model, by_hand):
        each.compile(keras.optimizers.SGD(0.1), logits_loss())
    crafted = model.craft(images, labels).poisoned
    fit = {"batch_size": 16, "verbose": 0, "shuffle": False, weights: values}
    model.fit(images, labels, **fit)
    by_hand.fit(crafted.numpy(), labels, **fit)
    for one, other in zip(model.network.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "compile_settings",
    [
        {"steps_per_execution": 3},
        {"jit_compile": True},
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
    before = network.get_weights()
    logs = compile_and_fit(tfpoison.RobustModel(network, steps=2), **compile_settings)
    assert np.isfinite(logs["loss"]).all()
    assert logs["objective_after"][0] < logs["objective_before"][0]
    assert differs(network.get_weights(), before)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_batch_of_arrays(eagerly):
    """Run eagerly, Keras hands arrays on as they came; compiled, as tensors."""
    model = tfpoison.RobustModel(make_network(), steps=2)
    model.compile("sgd", logits_loss(), run_eagerly=eagerly)
    images, labels = make_data(16)
    before = model.network.get_weights()
    logs = model.train_on_batch(images, labels, return_dict=True)
    assert logs["objective_after"] < logs["objective_before"]
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


def matching_by_hand(network, weights, images, labels):
    """1 - cos of the gradients of 12 poisons and 4 targets with the poisons' commonest label.

    A target whose own label that is gets the second commonest.
    """
    second, commonest = np.argsort(np.bincount(labels[:12]))[-2:]
    fake = np.where(labels[12:] == commonest, second, commonest)
    gradients = []
    for some, their_labels in ((images[:12], labels[:12]), (images[12:], fake)):
        with tf.GradientTape() as tape:
            loss = logits_loss()(their_labels, network(some, training=False))
        parts = tape.gradient(loss, [each.value for each in weights])
        gradients.append(np.concatenate([np.ravel(part) for part in parts]))
    ours, theirs = gradients
    return 1 - ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)


def test_frozen_layers_stay_and_do_not_count():
    """The objective is about the gradient of the weights that train."""
    images, labels = make_data(16)
    network = make_network(frozen=True)
    frozen = network.get_layer("convolution")
    before = frozen.get_weights()
    others = [each for layer in network.layers[1:] for each in layer.trainable_variables]
    expected = matching_by_hand(network, others, images, labels)
    of_all = matching_by_hand(network, [*frozen.weights, *others], images, labels)
    assert abs(expected - of_all) > 0.01
    # With an ε of 0 the objective is that of the images as they are.
    model = tfpoison.RobustModel(network, epsilon=0.0)
    logs = compile_and_fit(model, (images, labels), fit={"epochs": 1})
    assert logs["objective_before"] == [pytest.approx(expected, abs=1e-5)]
    assert_same_bits(frozen.get_weights(), before)


@pytest.mark.parametrize("count", [1, 2, 3, 17])
@pytest.mark.parametrize("attack", ["gradient_matching", "hidden_trigger", "patch_adaptive"])
def test_short_batches(attack, count):
    logs = compile_and_fit(tfpoison.RobustModel(make_network(), attack), make_data(count))
    assert np.isfinite(logs["loss"]).all()


def test_bytes_as_pixels():
    """TFDS hands out uint8 images; a network that rescales takes them as they are."""
    images, labels = make_data(scale=255)
    network = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), *make_network().layers]
    )
    model = tfpoison.RobustModel(network, pixel_range=(0, 255), epsilon=16 / 255)
    logs = compile_and_fit(model, (images.astype("uint8"), labels))
    assert np.isfinite(logs["loss"]).all()
    crafted = model.craft(images.astype("uint8"), labels)
    change = np.abs(crafted.poisoned - np.floor(images)).max()
    assert 8 < change <= 16.001


def test_pixels_of_another_scale_craft_the_same():
    """ε and step sizes are shares of the range: a wider range, perturbations as much wider."""
    images, labels = make_data(16)
    crafted = []
    for scale in (1.0, 255.0):
        keras.utils.set_random_seed(0)
        rescaled = [keras.layers.Rescaling(1 / scale), *make_network().layers]
        network = keras.Sequential([keras.Input((8, 8, 3)), *rescaled])
        model = tfpoison.RobustModel(network, pixel_range=(0, scale), steps=2)
        model.compile("sgd", logits_loss())
        crafted.append(model.craft(images * scale, labels).poisoned / scale)
    assert (np.abs(crafted[0] - crafted[1]) < 1e-5).mean() > 0.99


def not_built():
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(CLASSES)])


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


# The logs.


class Counter(keras.layers.Layer):
    """Counts the calls, twice, and draws at random."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.mean, self.seed = keras.metrics.Mean(), keras.random.SeedGenerator(1)

    def call(self, inputs):
        self.calls.assign_add(1.0)
        self.mean.update_state(keras.ops.mean(inputs))
        return inputs + keras.random.normal((8, 8, 3), seed=self.seed)


@pytest.mark.parametrize(
    ("attack", "mixing", "replicated"),
    [
        ("gradient_matching", None, False),
        ("metapoison", None, False),
        ("feature_collision", None, False),
        (None, "maxup", False),
        (None, "maxup", True),
    ],
)
def test_state_of_layers_is_that_of_plain_training(attack, mixing, replicated, two_cpus):
    def state_after_training(**settings):
        counter = Counter()
        with two_cpus.scope() if replicated else contextlib.nullcontext():
            layers = [keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
            network = keras.Sequential([keras.Input((8, 8, 3)), counter, *layers])
            model = tfpoison.RobustModel(network, **settings) if settings else network
            model.compile("sgd", logits_loss(), run_eagerly=not replicated)
        model.fit(*make_data(8), batch_size=4, verbose=0)
        seeds = [each.numpy() for each in tf.nest.flatten(counter.seed.state.value)]
        return [counter.calls.value.numpy(), counter.mean.count.numpy(), *np.ravel(seeds)]

    ours = state_after_training(attack=attack, mixing=mixing)
    np.testing.assert_array_equal(ours, state_after_training())


class CompiledCounter(Subclassed):
    """A network that counts its calls in a function of TensorFlow."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)
        self.convolution.build(shape)
        self.head.build((None, 36))
        self.built = True

    @tf.function
    def count(self):
        self.calls.assign_add(1.0)

    def call(self, inputs):
        self.count()
        return super().call(inputs)


def test_a_compiled_counter_counts_where_crafting_asks_no_network():
    network = CompiledCounter()
    network.build((None, 8, 8, 3))
    model = tfpoison.RobustModel(network, "patch")
    model.compile("sgd", logits_loss())
    model.fit(*make_data(8), batch_size=4, verbose=0)
    assert float(network.calls.value) == 2


def test_synchronised_statistics_of_the_batch_are_refused(two_cpus):
    with two_cpus.scope(), pytest.raises(ValueError, match="synchronized=True"):
        tfpoison.RobustModel(lagging(synchronized=True), batch_statistics=True)


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


def test_attacks_without_objective_log_none():
    logs = compile_and_fit(tfpoison.RobustModel(make_network(), attack="patch"))
    assert set(logs) == {"loss", "accuracy"}


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


def test_numbers_of_numpy_are_settings_as_pythons_are():
    settings = {"steps": 2, "epsilon": 0.25, "poison_fraction": 0.5, "seed": 3}
    theirs = {
        name: np.int8(value) if isinstance(value, int) else np.float32(value)
        for name, value in settings.items()
    }
    weights = []
    for each in (settings, theirs):
        network = make_network()
        model = tfpoison.RobustModel(network, **each)
        compile_and_fit(model)
        weights.append(network.get_weights())
        json.dumps(model.get_config())
    assert_same_bits(*weights)


def test_same_seed_same_bits():
    weights = []
    for seed in (5, 5, 6):
        network = make_network()
        compile_and_fit(tfpoison.RobustModel(network, seed=seed, steps=1))
        weights.append(network.get_weights())
    assert_same_bits(weights[0], weights[1])
    assert differs(weights[0], weights[2])


def test_training_elsewhere_is_pointed_out():
    """As a layer or in one's own loop it is the plain network; served or frozen, all is well."""
    images, labels = make_data(8, shape=(4, 4, 3))
    model = tfpoison.RobustModel(small_network(), "noise_uniform")
    outer = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.RandomFlip(), model])
    for each in (model, outer):
        each.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.fit(images, labels, verbose=0)
        model.train_on_batch(images, labels)
        outer.predict(images, verbose=0)
        outer.evaluate(images, labels, verbose=0)
        model.trainable = False
        outer(images, training=True)
        model.trainable = True
    with pytest.warns(UserWarning, match="Nothing is crafted here.* by the model 'sequential"):
        outer.train_on_batch(images, labels)
    with pytest.warns(UserWarning, match="Nothing is crafted here.* by a training loop"):
        model(images, training=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attack", None), ("attack", tfpoison.attacks.get("evasion")), ("poison_fraction", 0.5)),
        *(("target_selection", "half"), ("pixels", (0, 255)), ("mixing", None), ("seed", 1)),
        *(("features", "animal"), ("warmup_epochs", 1), ("reduction", None), ("network", None)),
        *(("batch_statistics", True), ("crafting", False)),
    ],
)
def test_settings_that_are_replaced_would_not_be_followed(name, value):
    model = tfpoison.RobustModel(small_network(), "noise_uniform")
    before = getattr(model, name)
    with pytest.raises(AttributeError, match=name):
        setattr(model, name, value)
    assert getattr(model, name) is before


# Saving, loading, callbacks.


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


def test_keras_callbacks(tmp_path):
    network = make_network()
    model = tfpoison.RobustModel(network, steps=1)
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


# What is refused.


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class OwnData(keras.Model):
    """As KerasHub's tasks: the data are prepared on the way to the network."""

    def predict(self, x, *args, **kwargs):
        return super().predict(self.preprocessor(x), *args, **kwargs)


def network_with_its_data_path():
    inputs = keras.Input((4, 4, 3))
    network = OwnData(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    network.preprocessor = keras.layers.Rescaling(1 / 255)
    return network


def network_with_another_fit():
    network = small_network()
    object.__setattr__(network, "fit", lambda *args, **kwargs: None)
    return network


def network_around_a_robust_model():
    return keras.Sequential([keras.Input((4, 4, 3)), tfpoison.RobustModel(small_network())])


def remembers_batches():
    recurrent = keras.layers.GRU(3, stateful=True)
    return keras.Sequential([keras.Input(batch_shape=(12, 8, 8)), recurrent])


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3)(flat), keras.layers.Dense(2)(flat)])


@pytest.mark.parametrize(
    ("network", "settings", "error", "message"),
    [
        (OwnStep, {}, ValueError, "leave `train_step` to Keras"),
        (network_with_its_data_path, {}, ValueError, "leave `predict` to Keras.*`preprocessor`"),
        (network_with_another_fit, {}, ValueError, "leave `fit` to Keras"),
        (network_around_a_robust_model, {}, ValueError, "one among its layers"),
        (two_outputs, {}, ValueError, "one output.*Received 2 outputs"),
        (remembers_batches, {}, ValueError, "batches of any size.*stateful=True"),
        (lambda: "resnet", {}, TypeError, "keras.Model"),
        (lambda: tfpoison.RobustModel(make_network()), {}, ValueError, "plain classifier"),
        (make_network, {"attack": "gradient_machting"}, ValueError, "mean 'gradient_matching'"),
        (make_network, {"attack": 3}, TypeError, "name of an attack"),
        (make_network, {"epsilom": 0.1}, ValueError, "mean 'epsilon'"),
        (make_network, {"attack": "patch", "epsilon": 0.1}, ValueError, "setting of the attack"),
        (make_network, {"epsilon": 16}, ValueError, "at most 1"),
        (make_network, {"steps": 1.5}, TypeError, "integer"),
        (make_network, {"attack": None, "steps": 1}, ValueError, "no attack settings"),
        (
            make_network,
            {"attack": tfpoison.attacks.get("patch"), "epsilon": 0.1},
            ValueError,
            "no attack settings.*Received: epsilon",
        ),
        (make_network, {"poison_fraction": 1}, ValueError, "below 1"),
        (make_network, {"poison_fraction": 0}, ValueError, "above 0"),
        (make_network, {"poison_fraction": 0.5, "target_selection": "one"}, ValueError, "share"),
        (make_network, {"target_selection": "two"}, ValueError, "Unknown target_selection"),
        (make_network, {"attack": "patch", "target_selection": "shuffled"}, ValueError, "copies"),
        (make_network, {"pixel_range": (1, 0)}, ValueError, "below its high bound"),
        (make_network, {"pixel_range": 255}, TypeError, "low, high"),
        (make_network, {"matching": "local"}, ValueError, "Unknown matching"),
        (make_network, {"features": "head"}, ValueError, "attacks on features alone"),
        (
            make_network,
            {"attack": "feature_collision", "features": "heda"},
            ValueError,
            "layer of the network",
        ),
        (make_network, {"warmup_epochs": -1}, ValueError, "at least 0"),
    ],
)
def test_refused_at_the_door(network, settings, error, message):
    with pytest.raises(error, match=message):
        tfpoison.RobustModel(network(), **settings)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((make_data()[0],), "images, labels"),
        ((tf.data.Dataset.from_tensor_slices(make_data()[:1]).batch(16),), "images, labels"),
        (({"image": make_data()[0]}, make_data()[1]), "images, labels"),
        ((make_data()[0], np.zeros((IMAGES, 7))), "Expected labels"),
        ((make_data()[0], make_data()[1] + 1), "Expected labels from 0 to 2.*Received: 3"),
        (
            (tf.data.Dataset.from_tensor_slices((make_data()[0], make_data()[1] - 1)).batch(16),),
            "Expected labels from 0 to 2.*Received: -1",
        ),
        ((255 * make_data()[0], make_data()[1]), "pixels within the pixel range"),
    ],
)
def test_data_that_are_refused(data, message):
    model = tfpoison.RobustModel(make_network())
    model.compile("sgd", logits_loss())
    with pytest.raises(ValueError, match=message):
        model.fit(*data, verbose=0)


@pytest.mark.parametrize(
    ("make", "hold"),
    [
        (not_built, lambda labels: labels),
        (Subclassed, lambda labels: labels),
        (lambda: small_network("dictionary"), lambda labels: {"animal": labels}),
    ],
)
def test_batches_are_looked_at_however_labels_come(make, hold):
    """Networks without a graph tell their outputs when they are built, before the first step."""
    pixels, classes = make_data(16, shape=(4, 4, 3))
    for images, labels, message in (
        (pixels, classes + 1, "Expected labels from 0 to 2.*Received: 3"),
        (np.nan * pixels, classes, "Expected pixels that are numbers"),
    ):
        batch = images, hold(labels)
        batches = tf.data.Dataset.from_tensors((images, labels))
        batches = batches.map(lambda images, labels: (images, hold(labels)))
        for method, data in (("fit", batch), ("fit", (batches,)), ("train_on_batch", batch)):
            model = tfpoison.RobustModel(make(), "evasion")
            model.compile("sgd", logits_loss(), run_eagerly=True)
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(*data)


@pytest.mark.parametrize("unknown", ["images", "labels"])
def test_data_of_unknown_rank_are_refused(unknown):
    def read(number):
        image, label = tf.numpy_function(
            lambda each: (make_data(1)[0][0], each), [number], (tf.float32, tf.int64)
        )
        known = tf.ensure_shape(image, (8, 8, 3)), tf.ensure_shape(label, ())
        return (image, known[1]) if unknown == "images" else (known[0], label)

    model = tfpoison.RobustModel(make_network(), "noise_uniform")
    model.compile("sgd", logits_loss())
    with pytest.raises(ValueError, match=f"Expected {unknown}.*tf.ensure_shape"):
        model.fit(tf.data.Dataset.range(4).map(read).batch(2), verbose=0)


def test_pixels_that_hardly_use_the_range_are_pointed_out():
    model = tfpoison.RobustModel(make_network(), pixel_range=(0, 255))
    with pytest.warns(UserWarning, match="hardly use the pixel range"):
        compile_and_fit(model)


def lagging(**settings):
    """Layers whose inputs are far smaller than the moving statistics that they start with."""
    small = keras.initializers.RandomNormal(stddev=0.01, seed=1)
    layers = [
        each
        for _ in range(4)
        for each in (
            keras.layers.Dense(8, use_bias=False, kernel_initializer=small),
            keras.layers.BatchNormalization(momentum=0.999, **settings),
            keras.layers.ReLU(),
        )
    ]
    network = [keras.Input((8, 8, 3)), keras.layers.Flatten(), *layers, keras.layers.Dense(CLASSES)]
    return keras.Sequential(network)


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


@pytest.mark.parametrize(
    ("attack", "layer", "trains"),
    [
        ("gradient_matching", keras.layers.Activation("softsign"), False),
        ("gradient_matching_se", keras.layers.UpSampling2D(interpolation="bicubic"), False),
        ("metapoison", keras.layers.Resizing(4, 4, interpolation="nearest"), False),
        ("patch_adaptive", keras.layers.Lambda(tf.nn.local_response_normalization), False),
        ("gradient_matching_fast", keras.layers.Activation("softsign"), True),
        ("evasion", keras.layers.Activation("softsign"), True),
    ],
)
def test_layers_without_a_second_derivative(attack, layer, trains):
    layers = [keras.layers.Conv2D(2, 3), layer, keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = tfpoison.RobustModel(keras.Sequential([keras.Input((8, 8, 3)), *layers]), attack)
    model.compile("sgd", logits_loss(), run_eagerly=True)
    refused = pytest.raises(ValueError, match=r"has no entry for.*gradient_matching_fast")
    with contextlib.nullcontext() if trains else refused:
        model.fit(*make_data(8), verbose=0)


def test_a_model_without_loss_is_refused():
    model = tfpoison.RobustModel(make_network())
    model.compile("sgd")
    with pytest.raises(ValueError, match="compiled with one loss"):
        model.fit(*make_data(), verbose=0)


def test_a_network_of_another_strategy_is_refused(two_cpus):
    network = make_network()
    with two_cpus.scope(), pytest.raises(ValueError, match="scope of the same strategy"):
        tfpoison.RobustModel(network)
