"""The contract that every network keeps, and known numbers of single ones."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison import networks
from tfpoison.networks import NETWORKS

ALL_APPLICATIONS = sorted(
    name
    for name, value in vars(keras.applications).items()
    if name[0].isupper() and callable(value)
)
OWN = [name for name in networks.names() if name not in ALL_APPLICATIONS]
# One of each kind: centred pixels; pixels in 0-255; a last layer that is no Dense layer.
APPLICATIONS = ["MobileNetV2", "EfficientNetB0", "MobileNetV3Small"]
EVERY = OWN + APPLICATIONS

CLASSES = 7


def smallest_image(name):
    return NETWORKS[name].smallest_image


def build(name, image_shape=None, **options):
    """Returns a network for the smallest images that it takes: the large ones are quick there."""
    size = smallest_image(name)
    shape = image_shape or (size, size, 3)
    return networks.get(name, shape, CLASSES, **{"seed": 1, **options})


def draw_images(network, count=2):
    return np.random.default_rng(0).uniform(size=(count, *network.input_shape[1:])).astype("f")


def count_trainable(network):
    return sum(int(np.prod(each.shape)) for each in network.trainable_weights)


@pytest.mark.parametrize("name", EVERY)
def test_network_keeps_the_contract(name, tmp_path):
    # Grey images that are not square: what holds for them holds for others.
    image_shape = (smallest_image(name), smallest_image(name) + 1, 1)
    options = {"image_shape": image_shape, "mean": [0.5], "std": [0.2], "seed": 3}
    network = build(name, **options)
    assert network.input_shape == (None, *image_shape)
    assert network.output_shape == (None, CLASSES)
    last = network.layers[-1]
    assert isinstance(last, keras.layers.Dense)
    assert last.name == "logits"
    assert last.activation is keras.activations.linear
    assert len(last.input.shape) == 2

    images = draw_images(network)
    logits = network(images, training=False)
    assert np.all(np.isfinite(logits))
    assert np.any(np.abs(logits[0] - logits[1]) > 0)

    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(images, training=False), logits)

    keras.utils.set_random_seed(1)  # The seed decides alone.
    for weight, same in zip(network.weights, build(name, **options).weights, strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("name", ["convnet", "convnet_small", "mlp", "resnet20", "MobileNetV2"])
def test_another_seed_gives_other_weights(name):
    one, other = build(name, seed=3), build(name, seed=4)
    kernels = [each for each in one.trainable_weights if "kernel" in each.path]
    assert kernels
    for weight, different in zip(one.trainable_weights, other.trainable_weights, strict=True):
        if "kernel" in weight.path:
            assert np.abs(weight - different).max() > 0, weight.path


@pytest.mark.parametrize("name", [name for name in OWN if smallest_image(name) > 1])
def test_smaller_images_are_refused(name):
    smallest = smallest_image(name)
    networks.check(name, (smallest, smallest, 1), CLASSES)
    with pytest.raises(ValueError, match=rf"at least {smallest} × {smallest}"):
        networks.check(name, (smallest, smallest - 1, 1), CLASSES)


@pytest.mark.parametrize("name", ALL_APPLICATIONS)
def test_every_keras_application_has_its_smallest_image(name):
    smallest = smallest_image(name)
    networks.check(name, (smallest, smallest, 3), 10)
    with pytest.raises(ValueError, match="at least"):
        networks.check(name, (smallest - 1, smallest, 3), 10)


@pytest.mark.parametrize("name", [name for name in OWN if "width" in networks.settings(name)])
def test_width_changes_the_number_of_weights(name):
    narrow = count_trainable(build(name, width=4))
    assert narrow < count_trainable(build(name, width=8))


@pytest.mark.parametrize(
    "name", [name for name in OWN if "batch_normalization" in networks.settings(name)]
)
def test_batch_normalization_is_a_choice(name):
    def has_batch_normalization(network):
        return any(isinstance(each, keras.layers.BatchNormalization) for each in network.layers)

    assert has_batch_normalization(build(name, batch_normalization=True))
    assert not has_batch_normalization(build(name, batch_normalization=False))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # What torch counts for the same networks at 32 x 32 x 3 and ten classes (the widely used
        # collection kuangliu/pytorch-cifar for ResNet, VGG and MobileNetV2; the authors' code for
        # the others).
        ("resnet18", 11_173_962),
        ("resnet20", 272_474),
        ("resnet50", 23_520_842),
        ("vgg11", 9_231_114),
        ("vgg16", 14_728_266),
        ("mobilenet_v2", 2_296_922),
        ("wide_resnet_28_10", 36_479_194),
        # 3·32·9+32, 32·64·9+64, 64·64·9+64, 64·128·9+128, 128·128·9+128, 36·32·10+10
        ("convnet", 896 + 18_496 + 36_928 + 73_856 + 147_584 + 11_530),
        # 9·(3·16+16·32+32·64+64·64) kernels, 2·(16+32+64+64) of BatchNorm, 64·10+10
        ("convnet_small", 60_336 + 352 + 650),
        # 9·(24·48+48·48+48·128+128·128+128·160+160·160) kernels, 2·(48+128+160) shifts, 160·10+10
        ("convnet_fast", 1_855_872 + 1_248 + 2_570),
    ],
)
def test_number_of_trainable_weights(name, expected):
    assert count_trainable(networks.get(name, (32, 32, 3), 10)) == expected


def test_perceptron_on_digits():
    network = networks.get("mlp", (8, 8, 1), 10)
    # 64·256+256, 256·128+128, two of BatchNorm a unit, 128·10+10
    assert count_trainable(network) == 16_640 + 32_896 + 2 * 384 + 1_290


def test_normalisation_is_inside():
    mean, std = [0.5, 0.25, 0.1], [0.2, 0.3, 0.4]
    plain = build("convnet", seed=1)
    normalizing = build("convnet", seed=1, mean=mean, std=std)
    images = draw_images(plain)
    np.testing.assert_allclose(
        normalizing(images), plain((images - np.array(mean)) / np.array(std)), atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "low", "high"), [("MobileNetV2", -1, 1), ("EfficientNetB0", 0, 1)]
)
def test_applications_see_the_pixels_that_they_expect(name, low, high):
    """Black and white at the first convolution: [-1, 1], or with the mean 0 and std 1: [0, 1]."""
    options = {} if low == -1 else {"mean": [0.0] * 3, "std": [1.0] * 3}
    network = build(name, **options)
    first = next(each for each in network.layers if isinstance(each, keras.layers.Conv2D))
    seen = keras.Model(network.input, first.input)
    images = np.stack([np.zeros((32, 32, 3)), np.ones((32, 32, 3))]).astype("float32")
    black, white = seen(images)
    # The middle: the border is padded.
    np.testing.assert_allclose(black[16, 16], low, atol=1e-6)
    np.testing.assert_allclose(white[16, 16], high, atol=1e-6)


def test_strided_convolutions_pad_both_sides_as_torch_does():
    """A kernel of ones sums a 4 × 4 image of ones; the corner at (0, 0) has five zeros around."""
    network = networks.get("convnet_small", (8, 8, 1), 2)
    strided = network.get_layer("conv2")
    padding = network.get_layer("conv2_padding")
    ones = np.ones((1, 4, 4, 16), "float32")
    strided.kernel.assign(tf.ones_like(strided.kernel))
    sums = strided(padding(ones))[0, :, :, 0] / 16
    # Windows start at -1 and 1: 2 × 2, 2 × 3, 3 × 2 and 3 × 3 pixels.
    np.testing.assert_array_equal(sums, [[4, 6], [6, 9]])


def test_the_state_of_python_random_is_left_alone():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    build("convnet_small", seed=7)
    assert random.random() == expected


def test_networks_are_built_and_trained_on_two_replicas(two_cpus):
    with two_cpus.scope():
        network = networks.get(
            "convnet_small", (8, 8, 3), 4, width=4, mean=[0.5] * 3, std=[0.2] * 3, seed=1
        )
        network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    alone = networks.get("convnet_small", (8, 8, 3), 4, width=4, seed=1)
    for ours, theirs in zip(network.trainable_weights, alone.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    history = network.fit(draw_images(network, 8), np.arange(8) % 4, batch_size=8, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["convnet_small", "mlp", "MobileNetV2"])
def test_mixed_precision_computes_low_and_ends_in_float32(name, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    network = build(name, mean=[0.5] * 3, std=[0.2] * 3)
    keras.config.set_dtype_policy("float32")
    low = keras.dtype_policies.get(policy).compute_dtype
    assert {each.compute_dtype for each in network.layers if each.name != "logits"} == {low}
    images = draw_images(network)
    logits = network(images, training=False)
    assert logits.dtype == tf.float32
    assert np.all(np.isfinite(logits))
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(images, training=False), logits)


def test_float64_is_float64_to_the_end():
    keras.config.set_dtype_policy("float64")
    network = build("convnet_small", mean=[0.5] * 3, std=[0.2] * 3)
    assert network(draw_images(network)).dtype == tf.float64


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("resnet81", (32, 32, 3), 10), {}, ValueError, r"Did you mean 'resnet18'"),
        (("vgg11", (32, 32, 3), 10), {"width": 8}, ValueError, r"Networks with a width: convnet"),
        (("MobileNetV2", (32, 32, 3), 10), {"width": 8}, ValueError, r"no width"),
        (("resnet18", (32, 32, 3), 10), {"width": 0}, ValueError, r"at least 2"),
        (("resnet18", (32, 32, 3), 10), {"width": "8"}, TypeError, r"an integer"),
        (
            ("resnet18", (32, 32, 3), 10),
            {"batch_normalization": False},
            ValueError,
            r"Networks with the choice: convnet, mlp",
        ),
        (("convnet", (32, 32, 3), 10), {"batch_normalization": 1}, TypeError, r"True, False"),
        (("convnet", (32, 32), 10), {}, ValueError, r"height, width, channels"),
        (("convnet", (32, 32.0, 3), 10), {}, ValueError, r"three positive integers"),
        (("convnet", (8, 32, 3), 10), {}, ValueError, r"at least 9 × 9"),
        (("Xception", (64, 64, 3), 10), {}, ValueError, r"at least 71 × 71"),
        (("convnet", (32, 32, 3), 1), {}, ValueError, r"classes"),
        (("convnet", (32, 32, 3), 10), {"mean": [0.5] * 3}, ValueError, r"together"),
        (
            ("convnet", (32, 32, 1), 10),
            {"mean": [0.5] * 3, "std": [0.2] * 3},
            ValueError,
            r"1 channels",
        ),
        (
            ("convnet", (32, 32, 1), 10),
            {"mean": [0.5], "std": [0.0]},
            ValueError,
            r"finite positive",
        ),
        (("convnet", (32, 32, 3), 10), {"seed": -1}, ValueError, r"seed"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_built(arguments, options, error, message):
    with pytest.raises(error, match=message):
        networks.check(*arguments, **options)
    with pytest.raises(error, match=message):
        networks.get(*arguments, **options)


def test_every_network_of_keras_is_known():
    assert [name for name in networks.names() if name not in OWN] == ALL_APPLICATIONS


def test_choices_may_stand_beside_the_name():
    network = networks.get("mlp(width=8;batch_normalization=false)", (4, 4, 1), 3, seed=0)
    assert count_trainable(network) == count_trainable(
        networks.get("mlp", (4, 4, 1), 3, width=8, batch_normalization=False)
    )
    with pytest.raises(ValueError, match="no width"):
        networks.check("vgg11(width=8)")
