"""Batches of every kind: losses, labels, weights, pixels, and what is no batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks_to_defend import (
    CLASSES,
    IMAGES,
    Subclassed,
    classes_of_small_data,
    compile_and_fit,
    differs,
    logits_loss,
    make_data,
    make_network,
    not_built,
    small_network,
)

import tfpoison


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
    fit = {"epochs": 1}
    logs = compile_and_fit(model, (images, labels), loss=loss, fit=fit, run_eagerly=True)
    assert np.isfinite(logs["loss"]).all()
    assert logs["objective_after"][0] < logs["objective_before"][0]


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
        each.compile(keras.optimizers.SGD(0.1), logits_loss(), run_eagerly=True)
    crafted = model.craft(images, labels).poisoned
    fit = {"batch_size": 16, "verbose": 0, "shuffle": False, weights: values}
    model.fit(images, labels, **fit)
    by_hand.fit(crafted.numpy(), labels, **fit)
    for one, other in zip(model.network.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


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


@pytest.mark.parametrize("attack", ["gradient_matching", "hidden_trigger", "patch_adaptive"])
def test_short_batches(attack):
    """Compiled once, for batches of any size."""
    model = tfpoison.RobustModel(make_network(), attack)
    model.compile("sgd", logits_loss())
    for count in (1, 2, 3, 17):
        losses = model.fit(*make_data(count), batch_size=16, epochs=2, verbose=0).history["loss"]
        assert np.isfinite(losses).all(), count


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
