"""Mixing against numbers worked by hand, Keras's own layers and other implementations."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfpoison.classifier import Classifier
from tfpoison.defenses import mixing
from tfpoison.defenses.mixing import CutMix, Cutout, MaxUp, Mixup
from tfpoison.distribution import replica_id
from tfpoison.randomness import Purpose, split_key

KEY = Purpose.CRAFTING.key(3, 1)
OTHER_KEY = Purpose.CRAFTING.key(3, 2)
CLASSES = 3


def make_network():
    return keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    )


def make_classifier(loss=None):
    loss = loss or keras.losses.CategoricalCrossentropy(from_logits=True)
    return Classifier(make_network(), loss)


def make_batch(count, dtype="float32"):
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(count, 8, 8, 3)).astype(dtype)
    return images, np.eye(CLASSES, dtype="float32")[draw.integers(CLASSES, size=count)]


def mixed(method, images, labels, key=KEY):
    return [each.numpy() for each in method.mix(None, images, labels, key)]


def sources(method, count, key=KEY, side=8):
    """Mixes images that are unlike each other, image i being the only one of class i.

    A row of the mixed labels then says how much of each image went into the mixed one.
    """
    images = np.random.default_rng(1).uniform(size=(count, side, side, 2)).astype("float32")
    return images, *mixed(method, images, np.eye(count, dtype="float32"), key)


# The contract, over the whole table.


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", mixing.names())
def test_contract(name, jit_compile):
    settings = {"copies": 2} if name == "maxup" else {}
    method, classifier = mixing.get(name, **settings), make_classifier()

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec([None, 8, 8, 3]),
            tf.TensorSpec([None, CLASSES]),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    def mix(images, labels, key):
        return method.mix(classifier, images, labels, key)

    assert mix.get_concrete_function().structured_outputs[0].shape.as_list() == [None, 8, 8, 3]
    # XLA compiles for seconds, and once more for every size.
    for count in (6,) if jit_compile else (6, 1, 0):
        images, labels = make_batch(count)
        result = [each.numpy() for each in mix(images, labels, KEY)]
        assert [each.shape for each in result] == [images.shape, labels.shape]
        assert [each.dtype for each in result] == ["float32", "float32"]
        if count:
            assert images.min() - 1e-6 <= result[0].min() <= result[0].max() <= images.max() + 1e-6
        np.testing.assert_allclose(result[1].sum(axis=1), 1, atol=1e-6)
        assert result[1].min(initial=0) >= 0
        for one, other in zip(result, mix(images, labels, KEY), strict=True):
            np.testing.assert_array_equal(one, other)
        if count == 6:
            assert np.abs(result[0] - images).max() > 0.1
            assert np.abs(result[0] - mix(images, labels, OTHER_KEY)[0]).max() > 0.1


@pytest.mark.parametrize("name", mixing.names())
def test_the_graph_draws_what_eager_code_draws(name):
    method, classifier, batch = mixing.get(name), make_classifier(), make_batch(6)
    eager = method.mix(classifier, *batch, KEY)
    for one, other in zip(eager, tf.function(method.mix)(classifier, *batch, KEY), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", mixing.names())
def test_every_precision_draws_the_same(name, dtype):
    method, classifier = mixing.get(name), make_classifier()
    images, labels = make_batch(6)
    expected = method.mix(classifier, images, labels, KEY)
    images = tf.cast(images, dtype)
    result = method.mix(classifier, images, tf.cast(labels, dtype), KEY)
    for one, other in zip(result, expected, strict=True):
        assert one.dtype == dtype
        atol = 1e-6 if dtype == "float64" else 1e-2
        np.testing.assert_allclose(tf.cast(one, tf.float32), other, atol=atol)


@pytest.mark.parametrize("name", mixing.names())
def test_any_pixel_range(name):
    """A mixture of images shifted and scaled is the mixture shifted and scaled."""
    images, labels = make_batch(6)
    # A network whose logits do not depend on the pixel range, so that MaxUp chooses the same.
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    network.add(keras.layers.LayerNormalization(epsilon=1e-12, center=False, scale=False))
    network.add(keras.layers.Dense(CLASSES))
    classifier = Classifier(network, keras.losses.CategoricalCrossentropy(from_logits=True))
    plain, _ = mixing.get(name).mix(classifier, images, labels, KEY)
    scaled, _ = mixing.get(name).mix(classifier, images * 255 - 100, labels, KEY)
    np.testing.assert_allclose(scaled, plain * 255 - 100, atol=1e-3)


@pytest.mark.parametrize("name", mixing.names())
def test_two_replicas(name, two_cpus):
    """Each replica draws by its own key what one device draws by that key."""
    with two_cpus.scope():
        network = make_network()
    images, labels = make_batch(6)
    classifier = Classifier(network, keras.losses.CategoricalCrossentropy(from_logits=True))
    method = mixing.get(name)

    @tf.function
    def step():
        return two_cpus.run(
            lambda: method.mix(classifier, images, labels, Purpose.CRAFTING.key(0, replica_id()))
        )

    together = [two_cpus.experimental_local_results(each) for each in step()]
    for replica in range(2):
        alone = method.mix(classifier, images, labels, Purpose.CRAFTING.key(0, replica))
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[replica], other, atol=1e-6)
    assert np.abs(together[0][0] - together[0][1]).max() > 0.1


# Mixup.


@pytest.mark.parametrize("ways", [2, 3, 4])
def test_mixup_mixes_what_the_labels_say(ways):
    images, mixed_images, weights = sources(Mixup(ways=ways), 20)
    np.testing.assert_allclose(mixed_images, np.tensordot(weights, images, 1), atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    parts = (weights > 0).sum(axis=1)
    assert parts.max() == ways
    assert (parts == ways).mean() > 0.5
    # Every image mixes itself; and in random orders all are mixed in alike.
    assert (np.diag(weights) > 0).all()
    # Weights are drawn for each image: if not, whole columns of 20 would be equal.
    assert len(np.unique(np.diag(weights).round(5))) > 15


def test_two_ways_against_keras():
    images, mixed_images, weights = sources(Mixup(), 20)
    others = np.where(np.eye(20), 0, weights).argmax(axis=1)
    own = np.diag(weights)
    others = np.where(own > 1 - 1e-6, np.arange(20), others)
    transformation = {"mix_weight": tf.constant(own), "permutation_order": tf.constant(others)}
    layer = keras.layers.MixUp()
    np.testing.assert_allclose(
        mixed_images, layer.transform_images(tf.constant(images), transformation), atol=1e-6
    )
    np.testing.assert_allclose(
        weights, layer.transform_labels(tf.eye(20), transformation), atol=1e-6
    )
    assert sorted(others) == list(range(20))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("ways", [2, 4])
def test_weights_are_dirichlet(alpha, ways):
    """Each weight of a symmetric Dirichlet distribution is Beta(α, (ways - 1) α)."""
    _, _, weights = sources(Mixup(alpha=alpha, ways=ways), 1500, side=1)
    parts = (weights > 0).sum(axis=1)
    rows = weights[parts == ways] if alpha >= 1 else weights
    marginal = scipy.stats.beta(alpha, (ways - 1) * alpha).cdf
    own = np.diag(weights)[parts == ways] if alpha >= 1 else np.diag(weights)
    assert scipy.stats.kstest(own, marginal).pvalue > 1e-3
    # All weights of a row together, by their second moment E Σ w² = (α + 1) / (ways α + 1); the
    # few images that met themselves are within the tolerance.
    expected = (alpha + 1) / (ways * alpha + 1)
    np.testing.assert_allclose(np.square(rows).sum(axis=1).mean(), expected, atol=0.02)


def test_small_alpha_is_one_image():
    """Gamma draws of so small an α are 0 in single precision, and 0 / 0 is no weight."""
    _, _, weights = sources(Mixup(alpha=1e-3, ways=4), 200, side=1)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert (weights.max(axis=1) > 0.999).mean() > 0.95
    # The one image is the image's own in one of four.
    assert 0.15 < (np.diag(weights) > 0.5).mean() < 0.35


# CutMix.


def cut(count, side=8, **settings):
    """Returns which pixels of each image were pasted, and the labels' weights of other images."""
    images, mixed_images, weights = sources(CutMix(**settings), count, side=side)
    pasted = (mixed_images != images).any(axis=-1)
    return images, mixed_images, weights, pasted


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_cutmix_label_is_the_share_of_pixels(alpha):
    images, mixed_images, weights, pasted = cut(40, alpha=alpha, probability=1.0)
    np.testing.assert_allclose(1 - np.diag(weights), pasted.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    others = np.where(np.eye(40), 0, weights).argmax(axis=1)
    for i in range(40):
        # What is pasted comes from the image that the label names, from the same place, and is a
        # box: all rows that have it have the same, connected columns.
        expected = np.where(pasted[i, ..., None], images[others[i]], images[i])
        np.testing.assert_array_equal(mixed_images[i], expected)
        rows, columns = pasted[i].any(axis=1), pasted[i].any(axis=0)
        np.testing.assert_array_equal(pasted[i], np.outer(rows, columns))
        assert all(
            np.abs(np.diff(each, prepend=0, append=0)).sum() <= 2 for each in (rows, columns)
        )


def test_cutmix_against_keras():
    images, mixed_images, weights, pasted = cut(20, probability=1.0)
    others = np.where(np.eye(20), 0, weights).argmax(axis=1)
    layer = keras.layers.CutMix()
    transformation = {
        "batch_masks": tf.constant(pasted[..., None]),
        "mix_weight": tf.constant(np.diag(weights)),
        "permutation_order": tf.constant(others),
    }
    np.testing.assert_array_equal(
        mixed_images, layer.transform_images(tf.constant(images), transformation)
    )
    np.testing.assert_allclose(
        weights, layer.transform_labels(tf.eye(20), transformation), atol=1e-6
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_cutmix_area_against_numpy(alpha):
    """The mean and the spread of the share pasted, of a plain loop over other draws."""
    draw, shares = np.random.default_rng(0), []
    for weight in draw.beta(alpha, alpha, size=6000):
        length = int(8 * np.sqrt(1 - weight))
        starts = draw.integers(8, size=2) - length // 2
        kept = [min(start + length, 8) - max(start, 0) for start in starts]
        shares.append(kept[0] * kept[1] / 64)
    *_, weights, _ = cut(1500, alpha=alpha, probability=1.0)
    ours = 1 - np.diag(weights)
    np.testing.assert_allclose(ours.mean(), np.mean(shares), atol=0.025)
    np.testing.assert_allclose(ours.std(), np.std(shares), atol=0.025)


def test_cutmix_leaves_half_of_the_images():
    # At α = 50 all boxes have sides of about √½ · 8 = 5.7 pixels; none is empty.
    *_, always = cut(400, alpha=50.0, probability=1.0)
    *_, half = cut(400, alpha=50.0)
    # One image in 400 or so meets itself.
    assert always.any(axis=(1, 2)).mean() > 0.98
    assert 0.4 < half.any(axis=(1, 2)).mean() < 0.6


# Cutout.


def erased(images, **settings):
    """Returns which pixels a cutout erased, (n, H, W); the images hold no pixel below 0."""
    labels = np.arange(len(images))
    result, same = mixed(Cutout(fill_value=-1.0, **settings), images, labels)
    np.testing.assert_array_equal(same, labels)
    holes = (result == -1).all(axis=-1)
    np.testing.assert_array_equal(result, np.where(holes[..., None], -1, images))
    return holes


def test_cutout_place_by_hand():
    # A square of 4 around row c covers rows c - 2 to c + 1. Of the 8 rows that may be its centre
    # row 0 is covered by 0, 1, 2; row 1 by 0 to 3; rows 2 to 5 by four; row 6 by 5, 6, 7; row 7 by
    # 6 and 7. The same goes for columns, independently.
    holes = erased(np.zeros((4000, 8, 8, 1), "float32"), size=4)
    covered = np.array([3, 4, 4, 4, 4, 4, 3, 2]) / 8
    np.testing.assert_allclose(holes.mean(axis=0), np.outer(covered, covered), atol=0.03)


@pytest.mark.parametrize("size", [1, 3, 4, 8])
def test_cutout_is_a_square_cut_off_at_the_border(size):
    holes = erased(np.random.default_rng(0).uniform(size=(500, 8, 10, 3)), size=size)
    heights, widths = holes.any(axis=2).sum(axis=1), holes.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(holes.sum(axis=(1, 2)), heights * widths)
    for axis, lengths in ((2, heights), (1, widths)):
        lines = holes.any(axis=axis)
        # Lines are connected, and shorter than the square only where they touch a border.
        assert (np.abs(np.diff(lines, axis=1, prepend=0, append=0)).sum(axis=1) == 2).all()
        whole = lengths == size
        assert (whole | lines[:, 0] | lines[:, -1]).all()
        assert whole.any()
        assert lengths.max() == size
        # The centre is a pixel of the image: a border leaves half of the square at least.
        assert lengths.min() == (size + 1) // 2


def test_cutout_defaults():
    """Half of the shorter side, filled with each channel's mean."""
    images = np.random.default_rng(0).uniform(size=(200, 6, 8, 2)).astype("float32")
    result, _ = mixed(Cutout(), images, np.zeros(200))
    holes = (result != images).all(axis=-1)
    assert holes.any(axis=2).sum(axis=1).max() == holes.any(axis=1).sum(axis=1).max() == 3
    filled = result[holes]
    expected = images.mean(axis=(0, 1, 2), dtype="float64")
    np.testing.assert_allclose(filled, np.broadcast_to(expected, filled.shape), atol=1e-5)


def test_half_precision_mean():
    """The sum of these pixels, 2¹⁵ of 200, is beyond half precision's 65504."""
    images = np.full((32, 32, 32, 1), 200, "float16")
    np.testing.assert_array_equal(mixed(Cutout(), images, np.zeros(32))[0], images)


def test_cutout_of_one_pixel():
    """Half of a side of one pixel is one pixel."""
    images = np.ones((4, 1, 1, 1), "float32")
    assert (mixed(Cutout(fill_value=0), images, np.zeros(4))[0] == 0).all()


# MaxUp.


@pytest.mark.parametrize("sparse", [False, True])
def test_maxup_takes_the_largest_loss(sparse):
    images, labels = make_batch(40)
    if sparse:
        labels = labels.argmax(axis=1)
        classifier = make_classifier(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    else:
        classifier = make_classifier()
    result, same = MaxUp(copies=5, size=3, fill_value=0.9).mix(classifier, images, labels, KEY)
    np.testing.assert_array_equal(same, labels)
    keys = split_key(KEY)
    copies = [
        mixed(Cutout(size=3, fill_value=0.9), images, labels, next(keys))[0] for _ in range(5)
    ]
    # The cross-entropy of the linear network, in NumPy.
    weights, bias = classifier.network.get_weights()
    classes = labels if sparse else labels.argmax(axis=1)
    losses = np.empty((5, 40))
    for number, copy in enumerate(copies):
        logits = (copy.reshape(40, -1) @ weights + bias).astype("float64")
        losses[number] = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(40), classes]
    worst = losses.argmax(axis=0)
    np.testing.assert_array_equal(result, np.stack(copies)[worst, np.arange(40)])
    # It chooses for each image, among all copies, and these differ.
    assert set(worst) == set(range(5))
    assert np.abs(np.diff(np.sort(losses, axis=0), axis=0)).max() > 0.01


def test_maxup_of_one_copy_is_cutout():
    images, labels = make_batch(6)
    result, _ = MaxUp(copies=1, size=5).mix(make_classifier(), images, labels, KEY)
    expected, _ = mixed(Cutout(size=5), images, labels, next(split_key(KEY)))
    np.testing.assert_array_equal(result, expected)


def test_maxup_has_cutouts_default():
    images, labels = make_batch(6)
    result, _ = MaxUp(copies=1).mix(make_classifier(), images, labels, KEY)
    expected, _ = mixed(Cutout(size=4), images, labels, next(split_key(KEY)))
    np.testing.assert_array_equal(result, expected)


# Data sets.


@pytest.mark.parametrize("name", ["mixup", "cutmix", "cutout"])
def test_on_batches(name):
    images, labels = make_batch(10)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    ours = mixing.on_batches(dataset, name, seed=5)
    assert ours.element_spec == dataset.element_spec
    first = list(ours.as_numpy_iterator())
    assert [len(each) for each, _ in first] == [4, 4, 2]
    for number, (batch, result) in enumerate(zip(dataset, first, strict=True)):
        expected = mixed(mixing.get(name), *batch, Purpose.MIXING_OF_A_DATA_SET.key(5, number))
        for one, other in zip(result, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    for one, other in zip(first, ours.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    again = list(mixing.on_batches(dataset.repeat(2), name, seed=5).as_numpy_iterator())
    np.testing.assert_array_equal(again[0][0], first[0][0])
    assert np.abs(again[3][0] - first[0][0]).max() > 0.1
    other_seed = next(iter(mixing.on_batches(dataset, name, seed=6)))
    assert np.abs(other_seed[0] - first[0][0]).max() > 0.1


def test_training_on_mixed_batches():
    """Keras compiles the step and trains on what comes out; a pipeline takes a mixing too."""
    images, labels = make_batch(8)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    network = make_network()
    network.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    before = network.get_weights()[0]
    history = network.fit(mixing.on_batches(dataset, Mixup(ways=4)), verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert np.abs(network.get_weights()[0] - before).max() > 0


@pytest.mark.parametrize(
    ("method", "seed", "error", "match"),
    [
        ("maxup", 0, ValueError, r"RobustModel\(network, attack=None, mixing="),
        (MaxUp(), 0, ValueError, "depends on the network"),
        (None, 0, TypeError, "Received: None"),
        ("mixup", -1, ValueError, "seed"),
        ("mixup", 0.5, TypeError, "seed"),
        ("mixpu", 0, ValueError, "Did you mean 'mixup'"),
    ],
)
def test_on_batches_refuses(method, seed, error, match):
    dataset = tf.data.Dataset.from_tensors(make_batch(4))
    with pytest.raises(error, match=match):
        mixing.on_batches(dataset, method, seed)


def test_on_batches_refuses_other_data():
    images, labels = make_batch(4)
    with pytest.raises(ValueError, match="batches of \\(images, labels\\)"):
        mixing.on_batches(tf.data.Dataset.from_tensors(images), "cutout")
    with pytest.raises(ValueError, match="batches of \\(images, labels\\)"):
        mixing.on_batches(tf.data.Dataset.from_tensors((images, labels, labels)), "cutout")
    with pytest.raises(ValueError, match="floating-point images"):
        mixing.on_batches(tf.data.Dataset.from_tensor_slices((images, labels)), "cutout")


# The table, settings and errors.


def test_get():
    assert mixing.names() == ["mixup", "cutmix", "cutout", "maxup"]
    assert mixing.get(None) is None
    assert mixing.get("mixup", ways=4) == Mixup(1.0, 4)
    assert mixing.get("maxup", copies=2, size=3) == MaxUp(2, 3)
    method = Cutout(7)
    assert mixing.get(method) is method
    with pytest.raises(ValueError, match="Did you mean 'cutout'"):
        mixing.get("cutuot")
    with pytest.raises(TypeError, match="ways"):
        mixing.get("cutout", ways=2)
    with pytest.raises(TypeError, match="Received: mixing=3"):
        mixing.get(3)
    for each in (None, method):
        with pytest.raises(ValueError, match="Received: alpha"):
            mixing.get(each, alpha=1.0)


@pytest.mark.parametrize(
    "method", [Mixup(0.3, 4), CutMix(0.4, 1.0), Cutout(5, 0.25), MaxUp(3, None, 0.5)]
)
def test_settings_are_saved(method):
    config = keras.saving.serialize_keras_object(method)
    assert keras.saving.deserialize_keras_object(config) == method


def test_every_mixing_says_what_it_needs():
    one_hot = {name for name, each in mixing.MIXINGS.items() if each.needs_one_hot}
    classifier = {name for name, each in mixing.MIXINGS.items() if each.needs_classifier}
    assert (one_hot, classifier) == ({"mixup", "cutmix"}, {"maxup"})


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("mixup", {"alpha": 0}, ValueError),
        ("mixup", {"alpha": "1"}, TypeError),
        ("mixup", {"ways": 1}, ValueError),
        ("mixup", {"ways": 2.0}, TypeError),
        ("cutmix", {"alpha": -1.0}, ValueError),
        ("cutmix", {"probability": 0}, ValueError),
        ("cutmix", {"probability": 1.1}, ValueError),
        ("cutout", {"size": 0}, ValueError),
        ("cutout", {"size": 0.5}, TypeError),
        ("cutout", {"fill_value": "mean"}, TypeError),
        ("maxup", {"copies": 0}, ValueError),
        ("maxup", {"size": -1}, ValueError),
        ("maxup", {"fill_value": float("nan")}, ValueError),
    ],
)
def test_settings_that_cannot_be(name, settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        mixing.get(name, **settings)


@pytest.mark.parametrize("name", mixing.names())
def test_images_that_cannot_be(name):
    images, labels = make_batch(4)
    method, classifier = mixing.get(name), make_classifier()
    for wrong in (images[0], (images * 255).astype("uint8")):
        with pytest.raises(ValueError, match="Expected floating-point images"):
            method.mix(classifier, wrong, labels, KEY)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_labels_that_cannot_be(name):
    images, labels = make_batch(4)
    classes = labels.argmax(axis=1)
    # Class numbers, as integers or not, must not be averaged.
    for wrong in (classes, classes[:, None].astype("float32"), labels.astype("int32")):
        with pytest.raises(ValueError, match="Expected one-hot labels"):
            mixed(mixing.get(name), images, wrong)


def test_squares_that_do_not_fit():
    images, labels = make_batch(4)
    for method in (Cutout(9), MaxUp(size=9)):
        with pytest.raises(ValueError, match="size=9"):
            method.mix(make_classifier(), images, labels, KEY)


def test_maxup_needs_a_classifier():
    with pytest.raises(ValueError, match="Expected a classifier"):
        mixed(MaxUp(), *make_batch(4))
