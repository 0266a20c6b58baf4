"""Batches: every example once an epoch, and streams that go on where they were cut."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from folders import make_examples

from tfpoison import data
from tfpoison.data.examples import StreamedExamples

SIZE, BATCH, EPOCHS = 22, 8, 3  # Batches of 8, 8 and 6.
EXAMPLES = make_examples(SIZE)


class Compressed(data.ArraySplit):
    def encoded(self):
        return super().encoded().map(tf.io.encode_png)

    def decode(self, encoded):
        return tf.io.decode_png(encoded)


def streamed(examples):
    """Returns the same examples as though they lay on disk, among others, compressed."""
    ids = np.arange(examples.size) * 2 + 1
    images, labels = (np.repeat(each, 2, axis=0) for each in (examples.images, examples.labels))
    split = Compressed("train", images, labels)
    return StreamedExamples(split, ids, examples.labels, examples.image_shape)


KINDS = pytest.mark.parametrize("examples", [EXAMPLES, streamed(EXAMPLES)], ids=["memory", "disk"])


def stream(examples, **options):
    settings = {"batch_size": BATCH, "epochs": EPOCHS, "seed": 5, "augmentation": "shift_flip"}
    batches = data.training_batches(examples, **{**settings, **options})
    return list(batches.as_numpy_iterator())


def identities(batches):
    """Returns which examples the images show: see `make_examples`."""
    return np.concatenate([np.round(images[:, 0, 0, 0] * 255).astype(int) for images, _ in batches])


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for part, other_part in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


@KINDS
def test_every_example_once_an_epoch_in_ever_new_order(examples):
    batches = stream(examples, augmentation=None)
    assert [len(labels) for _, labels in batches] == [8, 8, 6] * EPOCHS
    epochs = identities(batches).reshape(EPOCHS, SIZE)
    for order in epochs:
        np.testing.assert_array_equal(np.sort(order), np.arange(SIZE))
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[1], epochs[2])
    assert not np.array_equal(epochs[0], np.arange(SIZE))


@KINDS
def test_images_and_labels_belong_together(examples):
    for images, labels in stream(examples, augmentation="none"):
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        for each, image, label in zip(identities([(images, labels)]), images, labels, strict=True):
            np.testing.assert_array_equal(image, EXAMPLES.images[each].astype("float32") / 255)
            assert label == EXAMPLES.labels[each]


@KINDS
@pytest.mark.parametrize(
    ("first_epoch", "first_batch"), [(0, 1), (1, 0), (1, 2), (2, 1), (1, 3), (2, 3), (3, 0)]
)
def test_a_stream_goes_on_bit_for_bit_where_it_was_cut(examples, first_epoch, first_batch):
    whole = stream(examples)
    rest = stream(examples, first_epoch=first_epoch, first_batch=first_batch)
    assert_same(rest, whole[first_epoch * 3 + first_batch :])


@KINDS
def test_the_seed_decides_alone(examples):
    expected = stream(examples)
    tf.random.set_seed(17)
    assert_same(stream(examples), expected)
    assert not np.array_equal(stream(examples, seed=6)[0][0], expected[0][0])


def test_augmentation_differs_from_batch_to_batch_and_epoch_to_epoch():
    """All examples show the same: what differs was drawn."""
    image = np.random.default_rng(0).integers(256, size=(1, 8, 8, 3)).astype("uint8")
    examples = data.InMemoryExamples(np.repeat(image, 8, axis=0), np.zeros(8))
    batches = stream(examples, batch_size=4, epochs=2)
    flat = np.concatenate([images for images, _ in batches]).reshape(16, -1)
    assert len(np.unique(flat, axis=0)) == 16


def test_an_augmentation_of_ones_own():
    class Darken(data.Augmentation):
        def draw(self, key, count):
            return tf.random.stateless_uniform([count], key)

        def apply(self, images, draws):
            return images * draws[:, None, None, None]

    plain, dark = stream(EXAMPLES, augmentation=None), stream(EXAMPLES, augmentation=Darken())
    for (images, _), (darkened, _) in zip(plain, dark, strict=True):
        assert np.all(darkened <= images)
        assert darkened.sum() < images.sum()


def test_remainder_may_be_dropped():
    batches = stream(EXAMPLES, drop_remainder=True)
    assert [len(labels) for _, labels in batches] == [8, 8] * EPOCHS
    whole = stream(EXAMPLES)
    assert_same(batches, [*whole[0:2], *whole[3:5], *whole[6:8]])


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_cardinality_is_known(drop_remainder):
    options = {"batch_size": BATCH, "epochs": EPOCHS, "seed": 5, "drop_remainder": drop_remainder}
    batches = data.training_batches(EXAMPLES, first_epoch=1, first_batch=1, **options)
    expected = {False: 5, True: 3}[drop_remainder]
    assert int(batches.cardinality()) == len(list(batches)) == expected
    assert data.batches_per_epoch(EXAMPLES, BATCH, drop_remainder) == (3 - drop_remainder)
    assert int(data.evaluation_batches(EXAMPLES, BATCH).cardinality()) == 3


def test_static_batch_size_where_all_batches_are_alike():
    def batch_dimension(batches):
        return batches.element_spec[0].shape[0]

    options = {"epochs": 1, "seed": 0}
    assert batch_dimension(data.training_batches(EXAMPLES, batch_size=11, **options)) == 11
    assert batch_dimension(data.training_batches(EXAMPLES, batch_size=8, **options)) is None
    assert batch_dimension(data.evaluation_batches(EXAMPLES, 11)) == 11


def test_an_iterator_that_ends_waits_for_no_tuning():
    training = data.training_batches(EXAMPLES, batch_size=BATCH, epochs=EPOCHS, seed=0)
    for batches in (training, data.evaluation_batches(EXAMPLES, BATCH)):
        assert batches.options().autotune.enabled is False


def test_one_hot_labels():
    integers = stream(EXAMPLES)
    one_hot = stream(EXAMPLES, one_hot_classes=3)
    assert one_hot[0][1].dtype == np.float32
    assert_same(one_hot, [(images, np.eye(3, dtype="f")[labels]) for images, labels in integers])
    (_, labels), *_ = data.evaluation_batches(EXAMPLES, 4, one_hot_classes=3)
    np.testing.assert_array_equal(labels, np.eye(3)[[0, 1, 2, 0]])


@KINDS
def test_evaluation_is_in_order(examples):
    batches = list(data.evaluation_batches(examples, BATCH).as_numpy_iterator())
    np.testing.assert_array_equal(identities(batches), np.arange(SIZE))
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), EXAMPLES.labels)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 2.0}, TypeError, "batch_size"),
        ({"batch_size": 23, "drop_remainder": True}, ValueError, "number of examples, 22"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"seed": None}, TypeError, "seed"),
        ({"first_epoch": 4}, ValueError, "first_epoch"),
        ({"first_batch": 4}, ValueError, "first_batch"),
        ({"augmentation": "blur"}, ValueError, "augmentation"),
    ],
)
def test_wrong_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        stream(EXAMPLES, **options)


def test_two_replicas_divide_every_batch(two_cpus):
    distributed = two_cpus.experimental_distribute_dataset(
        data.training_batches(
            EXAMPLES, batch_size=BATCH, epochs=EPOCHS, seed=5, augmentation="shift_flip"
        )
    )
    assert int(distributed.cardinality) == 9
    for (images, labels), (all_images, all_labels) in zip(
        distributed, stream(EXAMPLES), strict=True
    ):
        for parts, whole in [(images, all_images), (labels, all_labels)]:
            first, second = two_cpus.experimental_local_results(parts)
            assert len(first) == len(second) == len(whole) // 2
            np.testing.assert_array_equal(np.concatenate([first, second]), whole)


def test_keras_trains_on_two_replicas_as_on_one(two_cpus):
    def train(strategy):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            network = keras.Sequential(
                [keras.Input((4, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]
            )
            network.compile(
                keras.optimizers.SGD(0.1),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )
        batches = data.training_batches(EXAMPLES, batch_size=BATCH, epochs=EPOCHS, seed=5)
        network.fit(batches, epochs=EPOCHS, steps_per_epoch=3, verbose=0)
        return network.get_weights()

    for ours, theirs in zip(train(two_cpus), train(tf.distribute.get_strategy()), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


WORKER = """
import json, os, sys
sys.path.insert(0, os.environ["TESTS"])
import tfpoison
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
from folders import make_examples
from tfpoison import data

batches = data.training_batches(
    make_examples(22), batch_size=8, epochs=3, seed=5, augmentation="shift_flip"
)
distributed = strategy.experimental_distribute_dataset(batches)
parts = [
    [each.numpy() for part in batch for each in strategy.experimental_local_results(part)]
    for batch in distributed
]
np.savez(sys.argv[1], cardinality=int(distributed.cardinality),
         **{f"images{i}": part[0] for i, part in enumerate(parts)},
         **{f"labels{i}": part[1] for i, part in enumerate(parts)})
"""


@pytest.mark.timeout(180)
def test_two_workers_divide_every_batch(tmp_path, two_workers, monkeypatch):
    monkeypatch.setenv("TESTS", str(pathlib.Path(__file__).parent))
    two_workers("-c", WORKER, tmp_path / "INDEX.npz", timeout=150)
    first, second = (np.load(tmp_path / f"{index}.npz") for index in range(2))
    assert first["cardinality"] == second["cardinality"] == 9
    for number, (images, labels) in enumerate(stream(EXAMPLES)):
        for part, whole in [("images", images), ("labels", labels)]:
            ours, theirs = first[f"{part}{number}"], second[f"{part}{number}"]
            assert len(ours) == len(theirs)
            np.testing.assert_array_equal(np.concatenate([ours, theirs]), whole)
