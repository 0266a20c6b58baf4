"""Replicas and workers that craft together train the network that one device trains."""

import functools
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison import attacks
from tfpoison.distribution import replica_id
from tfpoison.perturbations import for_each_class

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import distributed


def assert_close(ours, theirs, tolerance=1e-5):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


def largest_difference(ours, theirs):
    return max(np.abs(one - other).max() for one, other in zip(ours, theirs, strict=True))


@functools.cache
def train_alone(attack):
    return distributed.train(attack)


@pytest.mark.parametrize("attack", distributed.ATTACKS)
def test_two_replicas_train_as_one_device(attack, two_cpus):
    together, logs = distributed.train(attack, two_cpus)
    alone, logs_alone = train_alone(attack)
    assert_close(together, alone)
    assert logs.keys() == logs_alone.keys()
    for name in {"loss", "val_accuracy"} & logs.keys():
        np.testing.assert_allclose(logs[name], logs_alone[name], atol=1e-5)


@pytest.mark.parametrize(
    ("replicas", "rest", "settings"),
    [(3, 4, {"steps": 1, "transform": "jpeg", "mixing": "cutout"}), (4, 5, {"attack": None})],
)
def test_replicas_without_an_example(replicas, rest, settings, cpus):
    """The last batch leaves one with none, in training, evaluation and prediction."""
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(12 + rest, 4, 4, 3)).astype("float32")
    labels = draw.integers(3, size=12 + rest)
    strategy = cpus(replicas)
    with strategy.scope():
        layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()]
        layers += [keras.layers.Flatten(), keras.layers.Dense(3)]
        network = keras.Sequential([keras.Input((4, 4, 3)), *layers])
        model = tfpoison.RobustModel(network, **settings)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=["accuracy"])
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(12)
    history = model.fit(dataset, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    for variable in network.variables:
        for copy in strategy.experimental_local_results(variable.value):
            assert np.isfinite(copy.numpy()).all()
    # Each replica has moving statistics of its own.
    for variable in network.non_trainable_variables:
        variable.assign(variable.numpy())
    expected = network(images).numpy()
    np.testing.assert_allclose(model.predict(dataset, verbose=0), expected, atol=1e-5)
    results = model.evaluate(dataset, verbose=0, return_dict=True)
    assert results["accuracy"] == pytest.approx((expected.argmax(axis=1) == labels).mean())
    # Keras weighs every replica of a batch alike.
    assert np.isfinite(results["loss"])


def one_of_each_kind():
    """An attack for every kind of perturbation, drawn or crafted."""
    made = {name: attacks.get(name) for name in attacks.names()}
    kinds = {name: (type(each.perturbation), each.objective is None) for name, each in made.items()}
    return sorted({kind: name for name, kind in reversed(kinds.items())}.values())


@pytest.mark.parametrize("attack", one_of_each_kind())
def test_every_kind_of_attack_runs_on_two_replicas(attack, two_cpus):
    """Also on a last batch of three images, of which one replica gets one."""
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(11, 8, 8, 3)).astype("float32")
    labels = draw.integers(4, size=11)
    settings = {"steps": 1} if attacks.get(attack).objective is not None else {}
    with two_cpus.scope():
        model = tfpoison.RobustModel(distributed.make_network(), attack, **settings)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss)
    before = model.network.get_weights()
    history = model.fit(images, labels, batch_size=8, verbose=0, shuffle=False).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert ("objective_after" in history) == ("steps" in settings)
    assert largest_difference(model.network.get_weights(), before) > 1e-3
    for variable in model.network.trainable_variables:
        first, second = two_cpus.experimental_local_results(variable.value)
        np.testing.assert_array_equal(first, second)


def test_replicas_keep_the_universal_perturbation_of_one_device(two_cpus, monkeypatch):
    """Aims are drawn by each replica for itself, but here; weights at the end hang on δ."""
    attack = attacks.get("universal", epsilon=0.1, poison_fraction=0.75)
    monkeypatch.setitem(distributed.ATTACKS, "universal", attack)
    monkeypatch.setattr(
        *(for_each_class, "most_frequent_other_class"),
        lambda counts, own, key: tf.argmin(own, axis=1, output_type=tf.int32),
    )
    together, _ = distributed.train("universal", two_cpus)
    alone, _ = distributed.train("universal")
    assert_close(together, alone)


def test_replica_matching_crafts_on_each_part_alone(two_cpus):
    """The test above can fail: parts that are matched alone end with other weights."""
    apart, _ = distributed.train("gradient_matching", two_cpus, matching="replica")
    alone, _ = train_alone("gradient_matching")
    assert largest_difference(apart, alone) > 1e-4


@pytest.mark.timeout(240)
def test_two_workers_train_as_one_device(tmp_path, two_workers):
    two_workers(distributed.__file__, "gradient_matching", tmp_path / "INDEX.npz")
    alone, logs = train_alone("gradient_matching")
    for index in range(2):
        results = np.load(tmp_path / f"{index}.npz")
        assert_close([results[f"arr_{number}"] for number in range(len(alone))], alone)
        np.testing.assert_allclose(results["log_val_loss"], logs["val_loss"], atol=1e-5)


def test_replicas_draw_for_themselves(two_cpus):
    """The same images on both replicas, with the same seed: other noise."""
    images = np.full((4, 8, 8, 3), 0.5, "float32")
    with two_cpus.scope():
        model = tfpoison.RobustModel(distributed.make_network(), attack="noise_uniform")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss)

    @tf.function
    def craft():
        poisoned = model._split_and_attack(
            model.attack, model.classifier(), tf.constant(images), tf.zeros(4), replica_id()
        )
        return poisoned.images

    first, second = (each.numpy() for each in two_cpus.run(craft).values)
    assert (first != images).any()
    assert (first != second).any()
    again = two_cpus.run(craft).values[1].numpy()
    np.testing.assert_array_equal(second, again)
