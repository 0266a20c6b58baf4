"""Several attacks in one batch: each makes of its part what it makes of a batch of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison import attacks
from tfpoison.attacks.crafting import Crafting
from tfpoison.batch import LabelEncoding
from tfpoison.classifier import Classifier
from tfpoison.distribution import Reduction
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose, split_key

ENCODING = LabelEncoding(4, one_hot=False)


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    network = keras.Sequential([keras.Input((10, 10, 3)), *layers, keras.layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Classifier(network, loss, reduction=Reduction("replica"))


def make_batch(count):
    draw = np.random.default_rng(0)
    images = tf.constant(draw.uniform(size=(count, 10, 10, 3)).astype("float32"))
    return images, tf.constant(np.arange(count) % 4)


def poison(attack, classifier, images, labels, key=None, **settings):
    return attack.poison(
        classifier,
        images,
        labels,
        key=Purpose.CRAFTING.key(0) if key is None else key,
        pixels=PixelRange(),
        encoding=ENCODING,
        **{"selection": "share", "poison_fraction": None} | settings,
    )


@pytest.mark.parametrize(
    ("names", "count"),
    [
        ("gradient_matching_last_layer+evasion(steps=1)", 16),
        ("patch+evasion(steps=1)", 15),
        ("noise_uniform+patch+gradient_matching_last_layer", 17),
    ],
)
def test_each_attack_has_its_part_of_the_batch(classifier, names, count):
    together, (images, labels) = attacks.get(names), make_batch(count)
    made = poison(together, classifier, images, labels, measure=True)
    keys, many = split_key(Purpose.CRAFTING.key(0)), len(together.parts)
    measured = []
    for number, attack in enumerate(together.parts):
        part = slice(number * count // many, (number + 1) * count // many)
        alone = poison(attack, classifier, images[part], labels[part], next(keys), measure=True)
        np.testing.assert_array_equal(made.images[part], alone.images)
        np.testing.assert_array_equal(made.is_poison[part], alone.is_poison)
        measured += [alone.measured] if attack.objective else []
    np.testing.assert_allclose(made.measured, np.mean(measured, axis=0), rtol=1e-5)
    moved = (made.images.numpy() != images.numpy()).any(axis=(1, 2, 3))
    assert moved[made.is_poison].all() and len(moved) == count


def test_targets_without_a_poison_of_another_class_are_counted_where_they_matter(classifier):
    """Of evasion, whose targets nobody needs, there are none; of the other attack all are."""
    images, labels = make_batch(16)
    for names in ("gradient_matching+evasion", "evasion(poison_fraction=0.5)+gradient_matching"):
        made = poison(attacks.get(names), classifier, images, tf.zeros_like(labels))
        assert made.of_no_other_class.numpy().tolist() == [True, True]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_smaller_than_usual(classifier, count):
    images, labels = make_batch(count)
    made = poison(attacks.get("patch+evasion(steps=1)"), classifier, images, labels)
    assert made.images.shape == images.shape
    assert np.isfinite(made.images).all()
    assert made.is_poison.shape == (count,)


def test_the_share_of_poisons_is_that_of_each_attack_or_the_one_given(classifier):
    together = attacks.get("patch+evasion+gradient_matching")
    images, labels = make_batch(24)
    assert together.poison_fraction == pytest.approx((0.5 + 1 + 0.75) / 3)
    assert poison(together, classifier, images, labels).is_poison.numpy().sum() == 4 + 8 + 6
    half = poison(together, classifier, images, labels, poison_fraction=0.5)
    assert half.is_poison.numpy().sum() == 12
    with pytest.raises(ValueError, match="below 1: this attack needs"):
        Crafting.of("patch+evasion", poison_fraction=1)
    with pytest.raises(ValueError, match="they are copies"):
        Crafting.of("evasion+patch", target_selection="shuffled")


def test_a_training_keeps_what_lasts_of_each():
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((10, 10, 3)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    model = tfpoison.RobustModel(network, "evasion(steps=1)+universal+patch+universal_patch")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    kept = [each for part in model._lasting for each in part]
    assert [len(part) for part in model._lasting] == [0, 1, 0, 2]
    assert [each.name for each in kept] == [f"perturbation_{n}" for n in range(3)]
    before = [each.numpy() for each in kept]
    images, labels = make_batch(32)
    logs = model.fit(images, labels, batch_size=16, epochs=2, verbose=0).history
    assert logs["objective_after"][0] < logs["objective_before"][0]
    for each, start in zip(kept, before, strict=True):
        assert (each.numpy() != start).any()


def test_without_steps_nothing_moves():
    together = attacks.get("patch+evasion(steps=2)").without_steps()
    assert [each.steps for each in together.parts] == [5, 0]
    assert not together.moves and attacks.get("patch+evasion").moves


def test_it_survives_saving_and_composes_flat():
    together = attacks.get("patch(patch_size=4)+evasion(steps=1;epsilon=8/255)")
    config = keras.saving.serialize_keras_object(together)
    assert keras.saving.deserialize_keras_object(config) == together
    more = attacks.CompositeAttack.of(together, attacks.get("universal"))
    assert len(more.parts) == 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: attacks.get("patch+evasoin"), ValueError, "mean 'evasion'"),
        (lambda: attacks.get("patch+"), ValueError, "Expected an attack as NAME"),
        (lambda: attacks.get("patch+evasion", steps=2), ValueError, "in brackets .* with steps"),
        (lambda: attacks.CompositeAttack(("patch", "evasion")), TypeError, "'patch' among them"),
        (lambda: attacks.CompositeAttack((attacks.get("patch"),)), ValueError, "two attacks"),
        (lambda: attacks.CompositeAttack("patch"), TypeError, "tfpoison.Attack each"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_replicas_craft_together_what_one_device_crafts(classifier, two_cpus):
    """Both replicas have the same images, so that what they match is what each matches alone."""
    together, batch = attacks.get("gradient_matching_last_layer+evasion(steps=1)"), make_batch(16)
    shared = Classifier(classifier.network, classifier.compiled_loss, reduction=Reduction("global"))

    @tf.function(autograph=False)
    def run():
        return two_cpus.run(lambda: poison(together, shared, *batch).images)

    alone = poison(together, classifier, *batch).images.numpy()
    for each in run().values:
        assert (np.abs(each.numpy() - alone) < 1e-5).mean() > 0.99
