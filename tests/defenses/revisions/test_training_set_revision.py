"""The callback of revisions, watched example by example, and what it refuses."""

import dataclasses
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison.defenses import revisions
from tfpoison.defenses.revisions import Epic, Revised, Revision, TrainingSetRevision

SIZE = 20
LABELS = np.arange(SIZE) % 2
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_images():
    """The first pixel of an image says which one it is, the last counts its revisions."""
    images = np.random.default_rng(0).integers(0, 256, (SIZE, 8, 8, 1), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(SIZE)
    images[:, 7, 7, 0] = 0
    return images


IMAGES = make_images()


def make_network(activation=None):
    layers = [keras.layers.Flatten(), keras.layers.Dense(2, activation=activation)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [keras.layers.Flatten(), keras.layers.Dense(2)]

    def call(self, images):
        return self.parts[1](self.parts[0](images))


@dataclasses.dataclass(frozen=True)
class Scripted(Revision):
    """The first revision drops example 0 alone, the second example 1 alone, …"""

    def _epochs(self, total):
        return range(2, 5, 2)

    def _revise(self, network, images, labels, seed):
        revised = images.copy()
        revised[:, 7, 7, 0] += 1
        return Revised(np.arange(len(images)) != images[0, 7, 7, 0], revised)


def watch(batches, seen):
    """Returns the batches; what they hold is appended to `seen` when they are used."""

    def note(images, labels):
        pixels = np.rint(images.numpy() * 255).astype(int)
        seen.append((pixels[:, 0, 0, 0], pixels[:, 7, 7, 0], labels.numpy()))
        return images

    def watched(images, labels):
        same = tf.py_function(note, [images, labels], tf.float32)
        return tf.ensure_shape(same, images.shape), labels

    return batches.map(watched)


def fit(model, defense, epochs, **settings):
    """Returns what was trained on in each epoch: ids, numbers of revisions, labels."""
    model.compile("sgd", LOSS)
    seen, per_epoch = [], []

    class Count(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.clear()  # Keras looks at a batch before training.

        def on_epoch_end(self, epoch, logs=None):
            per_epoch.append([np.concatenate(each) for each in zip(*seen, strict=True)])

    callbacks = [defense, Count()]
    batches = watch(defense.batches(), seen)
    model.fit(batches, callbacks=callbacks, epochs=epochs, verbose=0, **settings)
    return per_epoch


@pytest.mark.filterwarnings("error:Your input ran out of data")
@pytest.mark.parametrize("robust", [False, True])
def test_fit_sees_what_the_revisions_leave(robust):
    model = make_network()
    if robust:
        model = tfpoison.RobustModel(model, "noise_uniform")
    defense = TrainingSetRevision(Scripted(), IMAGES, LABELS, batch_size=6)
    epochs = fit(model, defense, epochs=6)
    # Revisions after the second and the fourth epoch; what the first dropped stays dropped.
    for number, left in enumerate([range(20), range(20), *[range(1, 20)] * 2, *[range(2, 20)] * 2]):
        ids, revisions, labels = epochs[number]
        # Others stand in for those that were dropped: all epochs have as many steps.
        assert set(ids.tolist()) == set(left)
        assert len(ids) == SIZE
        assert set(revisions.tolist()) == {number // 2}
        np.testing.assert_array_equal(labels, LABELS[ids])
    assert np.flatnonzero(~defense.kept).tolist() == [0, 1]
    assert (defense.images[:, 7, 7] == 2).all()
    assert (IMAGES[:, 7, 7] == 0).all()


@pytest.mark.filterwarnings("error:Your input ran out of data")
def test_order_is_drawn_from_seed_and_epoch():
    def orders(seed, **settings):
        defense = TrainingSetRevision(Scripted(), IMAGES, LABELS, batch_size=6, seed=seed)
        return [ids.tolist() for ids, _, _ in fit(make_network(), defense, epochs=3, **settings)]

    first = orders(0)
    assert first == orders(0)
    assert first != orders(1)
    assert first[0] != first[1]
    # A training that goes on at the second epoch draws what the whole one drew.
    assert orders(0, initial_epoch=1)[0] == first[1]


@pytest.mark.filterwarnings("error:Your input ran out of data")
def test_revisions_of_the_table_in_fit():
    # Of ten examples of class 0 one is as bright as those of class 1.
    images = np.where(LABELS, 220, 20)[:, None, None, None] + np.zeros((SIZE, 8, 8, 1), int)
    images[4] = 220
    images = (images + np.random.default_rng(0).integers(0, 6, images.shape)).astype("uint8")
    for name, settings in (("epic", {"share": 0.2}), ("friendly_noise", {"steps": 2})):
        network = make_network()
        network.compile(keras.optimizers.Adam(0.05), LOSS)
        defense = TrainingSetRevision(revisions.get(name, **settings), images, LABELS, batch_size=5)
        network.fit(defense.batches(), callbacks=[defense], epochs=8, verbose=0)
        if name == "epic":
            assert not defense.kept[4]
            assert defense.kept.sum() >= 14
            np.testing.assert_array_equal(defense.images, images)
        else:
            assert defense.kept.all()
            assert 8 <= np.abs(defense.images.astype(int) - images).max() <= 16


def test_batches():
    defense = TrainingSetRevision(Scripted(), IMAGES, LABELS, batch_size=6)
    batches = list(defense.batches())
    assert [len(labels) for _, labels in batches] == [6, 6, 6, 2]
    assert defense.batches().cardinality() == 4
    images = np.concatenate([each for each, _ in batches])
    assert images.dtype == np.float32
    order = np.rint(images[:, 0, 0, 0] * 255).astype(int)
    np.testing.assert_array_equal(images, IMAGES[order] / np.float32(255))
    assert order.tolist() != sorted(order)


@dataclasses.dataclass(frozen=True)
class Nothing(Revision):
    """Changes nothing."""

    def _epochs(self, total):
        return range(1, total)

    def _revise(self, network, images, labels, seed):
        return Revised(np.ones(len(images), bool), images)


@pytest.mark.parametrize("robust", [False, True])
def test_as_many_steps_as_on_data_of_ones_own(robust):
    """Keras makes a step more at the end of data of unknown length: weights decay, rates fall."""
    weights = []
    for is_own in (True, False):
        keras.utils.set_random_seed(0)
        network = make_network()
        model = tfpoison.RobustModel(network, None, mixing="mixup") if robust else network
        rate = keras.optimizers.schedules.CosineDecay(0.1, 12)
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(rate, weight_decay=0.1), loss, run_eagerly=True)
        defense = TrainingSetRevision(Nothing(), IMAGES, LABELS, batch_size=6)
        batches = defense.batches().map(lambda images, labels: (images, tf.one_hot(labels, 2)))
        if is_own:
            batches = batches.take(4)
        model.fit(batches, epochs=3, callbacks=[defense], verbose=0)
        assert model.optimizer.iterations == 12
        weights.append(network.get_weights()[0])
    np.testing.assert_array_equal(*weights)


def begin(model, defense, steps=None):
    """What `fit` does before its first epoch."""
    defense.set_params({"epochs": 6, "steps": steps or len(defense.batches())})
    defense.set_model(model)
    defense.on_train_begin()


def test_another_pixel_range_and_a_network_without_a_graph_are_served():
    class Asked(Nothing):
        def _revise(self, network, images, labels, seed):
            answers.append(network(images / np.float32(255)))
            return super()._revise(network, images, labels, seed)

    answers, network = [], Subclassed()
    network(np.zeros((1, 8, 8, 1)))
    pixel_range = (-1.0, 255.0)
    defense = TrainingSetRevision(Asked(), IMAGES, LABELS, batch_size=20, pixel_range=pixel_range)
    begin(network, defense)
    ((images, _),) = defense.batches()
    assert (images.numpy().min(), images.numpy().max()) == (-1, 255)
    defense.on_epoch_end(0)
    np.testing.assert_allclose(answers[0], network(IMAGES / 255 * 256 - 1), rtol=1e-4)
    with pytest.raises(ValueError, match="same pixel_range"):
        begin(tfpoison.RobustModel(make_network(), "noise_uniform"), defense)


def make_functional(outputs, **size):
    inputs = keras.Input(**(size or {"shape": (8, 8, 1)}))
    return keras.Model(inputs, outputs(keras.layers.Flatten()(inputs)))


def broken():
    network = make_network()
    network.layers[-1].bias.assign([0.0, np.nan])
    return network


REFUSED = {
    "softmax": (lambda: make_network("softmax"), "logits"),
    "sigmoid": (lambda: make_network("sigmoid"), "logits"),
    "softmax within": (lambda: keras.Sequential([make_network("softmax")]), "logits"),
    "softmax of an operation": (
        lambda: make_functional(lambda each: keras.ops.softmax(keras.layers.Dense(2)(each))),
        "sum to one",
    ),
    "one output": (lambda: make_functional(keras.layers.Dense(1)), "two classes"),
    "two outputs": (lambda: make_functional(lambda each: [each, each]), "float32 images"),
    "maps": (lambda: make_functional(lambda each: each[:, :, None]), "one output of shape"),
    "diverged": (broken, "diverged"),
    "batches of 20": (
        lambda: make_functional(keras.layers.Dense(2), batch_shape=(20, 8, 8, 1)),
        "batches of 20",
    ),
    "other images": (lambda: make_functional(keras.layers.Dense(2), shape=(9, 9, 1)), "images"),
    "pixels to 255": (
        lambda: keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255), make_network()]
        ),
        "pixel_range=.0, 255",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_the_training(name):
    make, message = REFUSED[name]
    defense = TrainingSetRevision(Epic(), IMAGES, LABELS, batch_size=6)
    with pytest.raises(ValueError, match=message):
        begin(make(), defense)


def test_epochs_of_other_lengths_are_refused_before_the_training():
    network, defense = make_network(), TrainingSetRevision(Epic(), IMAGES, LABELS, batch_size=6)
    with pytest.raises(ValueError, match=r"epochs of 4 steps.*Received: 3\. Leave steps_per_epoch"):
        begin(network, defense, steps=3)
    network.compile("sgd", LOSS, run_eagerly=True)
    unknown = defense.batches().filter(lambda images, labels: True)
    with pytest.raises(ValueError, match="data of unknown length"):
        network.fit(unknown, epochs=6, callbacks=[defense], verbose=0)


def test_labels_beyond_the_network_are_refused_before_the_training():
    defense = TrainingSetRevision(Epic(), IMAGES, LABELS + 1, batch_size=6)
    with pytest.raises(ValueError, match=r"from 0 to 1, .* outputs being 2\. Received: 2"):
        begin(make_network(), defense)


def test_batches_of_others_are_refused():
    network, defense = make_network(), TrainingSetRevision(Epic(), IMAGES, LABELS, batch_size=6)
    network.compile("sgd", LOSS, run_eagerly=True)
    with pytest.raises(ValueError, match="other data, or batches that were cached"):
        network.fit(IMAGES / 255, LABELS, batch_size=6, epochs=6, callbacks=[defense], verbose=0)
    begun = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: epochs.append(epoch))
    epochs, batches = [], defense.batches().cache()
    with pytest.raises(ValueError, match="cached"):
        network.fit(batches, epochs=6, callbacks=[defense, begun], verbose=0)
    assert epochs == [0, 1]


def test_a_new_callback_tells_what_it_has_missed():
    network, defense = make_network(), TrainingSetRevision(Nothing(), IMAGES, LABELS, batch_size=6)
    begin(network, defense)
    with pytest.warns(UserWarning, match=r"at epoch 3, .*after epoch\(s\) 1, 2:"):
        defense.on_epoch_begin(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defense.batches().take(1).get_single_element()
        defense.on_epoch_end(2)
        defense.on_epoch_begin(3)


def test_nothing_is_left():
    @dataclasses.dataclass(frozen=True)
    class DropAll(Nothing):
        def _revise(self, network, images, labels, seed):
            return Revised(np.zeros(len(images), bool), images)

    defense = TrainingSetRevision(DropAll(), IMAGES, LABELS, batch_size=20)
    begin(make_network(), defense)
    defense.batches().get_single_element()
    with pytest.raises(ValueError, match="leave examples"):
        defense.on_epoch_end(0)


def test_fit_refuses_a_training_without_a_revision():
    network = make_network()
    network.compile("sgd", LOSS)
    defense = TrainingSetRevision(Scripted(), IMAGES, LABELS, batch_size=6)
    with pytest.raises(ValueError, match="goes on after the first revision"):
        network.fit(defense.batches(), callbacks=[defense], epochs=2, verbose=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"revision": "epic"}, TypeError, "`revision`"),
        ({"images": IMAGES / 255}, ValueError, "uint8"),
        ({"images": IMAGES.tolist()}, TypeError, "`images`"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, ValueError, "not empty"),
        ({"labels": LABELS[1:]}, ValueError, "`labels`"),
        ({"labels": LABELS - 1}, ValueError, "`labels`"),
        ({"labels": LABELS / 1}, ValueError, "`labels`"),
        ({"batch_size": 0}, ValueError, "`batch_size`"),
        ({"seed": -1}, ValueError, "`seed`"),
    ],
)
def test_callback_refuses(arguments, error, message):
    usual = {"revision": Scripted(), "images": IMAGES, "labels": LABELS, "batch_size": 6}
    with pytest.raises(error, match=message):
        TrainingSetRevision(**(usual | arguments))


def test_the_callback_is_made_outside_of_a_strategy(two_cpus):
    with two_cpus.scope(), pytest.raises(ValueError, match="outside of a strategy's scope"):
        TrainingSetRevision(Scripted(), IMAGES, LABELS, batch_size=6)
