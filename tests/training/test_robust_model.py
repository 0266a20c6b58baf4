"""The training step of RobustModel: split, attack, join, Keras's own."""

import contextlib
import functools
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
    small_network,
)
from test_purity import Counter

import tfpoison

SHUFFLED = {"validation_split": 0.25, "shuffle": True}


@functools.cache
def plain_training(*, functional):
    """The logs and the weights of the network's own training."""
    network = make_network(dropout=0.3, functional=functional)
    return compile_and_fit(network, fit=SHUFFLED), network.get_weights()


@pytest.mark.parametrize(
    ("settings", "functional"),
    [
        ({"attack": None}, True),
        ({"steps": 0, "epsilon": 0.0}, True),
        ({"steps": 0, "epsilon": 0.0}, False),
        ({"steps": 0, "epsilon": 0.0, "target_selection": "half"}, False),
        ({"steps": 0, "epsilon": 0.0, "target_selection": "shuffled"}, True),
        ({"attack": "evasion", "steps": 0, "epsilon": 0.0}, False),
        ({"attack": "noise_normal", "epsilon": 0.0}, True),
    ],
)
def test_without_perturbation_training_is_that_of_the_network(settings, functional):
    logs, weights = plain_training(functional=functional)
    network = make_network(dropout=0.3, functional=functional)
    our_logs = compile_and_fit(tfpoison.RobustModel(network, **settings), fit=SHUFFLED)
    assert_same_bits(network.get_weights(), weights)
    assert {name: our_logs[name] for name in logs} == logs


def test_crafting_changes_the_training():
    """The test above can fail."""
    network = make_network(dropout=0.3)
    compile_and_fit(tfpoison.RobustModel(network), fit=SHUFFLED)
    assert differs(network.get_weights(), plain_training(functional=False)[1])


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


def test_what_is_crafted_where_nobody_says_what():
    model = tfpoison.RobustModel(make_network())
    assert model.attack == tfpoison.attacks.get("gradient_matching_last_layer")
    assert model.attack.steps == 1


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
    model = tfpoison.RobustModel(network, "gradient_matching", epsilon=0.0)
    logs = compile_and_fit(model, (images, labels), fit={"epochs": 1})
    assert logs["objective_before"] == [pytest.approx(expected, abs=1e-5)]
    assert_same_bits(frozen.get_weights(), before)


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


def test_attacks_without_objective_log_none():
    logs = compile_and_fit(tfpoison.RobustModel(make_network(), attack="patch"))
    assert set(logs) == {"loss", "accuracy"}


def test_what_an_attack_keeps_goes_from_step_to_step(tmp_path):
    """At a learning rate of 0 every step goes an eighth of ε further, also after loading."""
    model = tfpoison.RobustModel(small_network(), "universal", epsilon=0.5)
    images, labels = make_data(8, shape=(4, 4, 3))
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.0), loss, run_eagerly=True)
    start = model._lasting[0][0].numpy()
    model.train_on_batch(images, labels)
    model.save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    model.train_on_batch(images, labels)
    moved = np.abs(model._lasting[0][0].numpy() - start)
    assert moved.max() == pytest.approx(2 * 0.5 / 8)


def test_what_an_attack_keeps_needs_images_of_known_sides():
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(CLASSES)]
    network = keras.Sequential([keras.Input((None, None, 3)), *layers])
    with pytest.raises(ValueError, match=r"sides are known: .*keras\.Input"):
        tfpoison.RobustModel(network, "universal")


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


def test_layers_to_match_are_looked_for_at_the_door():
    network = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="'head', of which the network has none"):
        tfpoison.RobustModel(network, "gradient_matching", weights="head")
