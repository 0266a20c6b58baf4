import functools
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison.pixel_range import PixelRange
from tfpoison.training.batch_check import check_pixels, checked, plain_errors

UNIT = PixelRange()
IMAGES = np.linspace(0, 1, 12 * 4 * 4 * 3, dtype=np.float32).reshape(12, 4, 4, 3)
LABELS = np.arange(12) % 3
CHECK = functools.partial(lambda images, labels: check_pixels(images, UNIT))


def with_pixel(value, image=7):
    images = IMAGES.copy()
    images[image, 1, 2, 1] = value
    return images


class Batches(keras.utils.PyDataset):
    """Three batches of four images; counts its epochs."""

    def __init__(self, images, labels, **settings):
        super().__init__(**settings)
        self.images, self.labels, self.epochs = images, labels, [0, 0]

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return tuple(each[4 * index : 4 * index + 4] for each in (self.images, self.labels))

    def on_epoch_begin(self):
        self.epochs[0] += 1

    def on_epoch_end(self):
        self.epochs[1] += 1


def generate(images, labels):
    for start in range(0, 12, 4):
        yield images[start : start + 4], labels[start : start + 4]


SERVED = {
    "arrays": lambda images: (images, LABELS),
    "tensors": lambda images: (tf.constant(images), tf.constant(LABELS)),
    "data_set": lambda images: (
        tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(4),
        None,
    ),
    "data_set_with_weights": lambda images: (
        tf.data.Dataset.from_tensor_slices((images, LABELS, np.ones(12))).batch(4),
        None,
    ),
    "py_dataset": lambda images: (Batches(images, LABELS), None),
    "py_dataset_with_workers": lambda images: (Batches(images, LABELS, workers=2), None),
    "generator": lambda images: (generate(images, LABELS), None),
}


def make_model(attack="noise_uniform", **settings):
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(3))
    model = tfpoison.RobustModel(network, attack)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, **settings)
    return model


@pytest.mark.parametrize("value", [0, 1, -0.09, 1.09])
def test_pixels_that_fit(value):
    check_pixels(with_pixel(value), UNIT)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "are numbers"),
        (np.inf, "are numbers"),
        (-np.inf, "are numbers"),
        (1.2, "within the pixel range"),
        (-0.2, "within the pixel range"),
        (255, "within the pixel range"),
    ],
)
def test_pixels_that_do_not_fit(value, message):
    with pytest.raises(ValueError, match=message) as error:
        check_pixels(with_pixel(value), UNIT)
    assert "1 of 12 images" in str(error.value)
    assert "position 7" in str(error.value)


def test_each_channel_has_its_own_range():
    images = IMAGES * [1, 2, 3]
    pixels = PixelRange(([0, 0, 0], [1, 2, 3]))
    check_pixels(images, pixels)
    with pytest.raises(ValueError, match="within the pixel range"):
        check_pixels(images[..., ::-1], pixels)


def test_bytes_and_half_precision():
    check_pixels(np.full((2, 4, 4, 1), 255, np.uint8), PixelRange((0, 255)))
    with pytest.raises(ValueError, match="are numbers"):
        check_pixels(with_pixel(np.nan).astype(np.float16), UNIT)
    with pytest.raises(ValueError, match="are numbers"):
        check_pixels(tf.constant(with_pixel(np.nan), tf.bfloat16).numpy(), UNIT)


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_data_come_through_as_they_were(served):
    x, y = served(IMAGES)
    again = checked(x, y, CHECK)
    if y is not None:
        assert again is x
        return
    if isinstance(x, tf.data.Dataset):
        assert again.element_spec == x.element_spec
        assert again.cardinality() == 3
    np.testing.assert_array_equal(np.concatenate([each[0] for each in again]), IMAGES)


@pytest.mark.parametrize("served", SERVED.values(), ids=SERVED)
def test_training_stops_before_a_pixel_that_is_no_number(served):
    model = make_model()
    with pytest.raises(ValueError, match="are numbers") as error:
        model.fit(*served(with_pixel(np.nan)), batch_size=4, shuffle=False, verbose=0)
    assert "Traceback" not in str(error.value)
    assert all(np.isfinite(each).all() for each in model.network.get_weights())


def test_training_compiled_with_xla_stops_as_well():
    model = make_model(None, jit_compile=True)
    with pytest.raises(ValueError, match="are numbers"):
        model.fit(*SERVED["data_set"](with_pixel(np.nan, image=11)), verbose=0)
    assert all(np.isfinite(each).all() for each in model.network.get_weights())


def test_plain_training_knows_no_range():
    make_model(None).fit(255 * IMAGES, LABELS, verbose=0)


def test_a_single_batch_is_looked_at():
    model = make_model()
    for method in (model.train_on_batch, model.craft):
        with pytest.raises(ValueError, match="within the pixel range"):
            method(255 * IMAGES, LABELS)


def test_a_data_set_of_keras_is_told_of_its_epochs():
    batches = Batches(IMAGES, LABELS)
    wrapped = checked(batches, None, CHECK)
    wrapped.on_epoch_begin()
    wrapped.on_epoch_begin()
    wrapped.on_epoch_end()
    assert batches.epochs == [2, 1]


def test_a_wrapped_data_set_goes_to_other_processes():
    wrapped = checked(Batches(IMAGES, LABELS), None, functools.partial(check_nothing))
    assert len(list(pickle.loads(pickle.dumps(wrapped)))) == 3


def check_nothing(images, labels):
    """Lets everything pass."""


def test_other_errors_keep_their_stack():
    with pytest.raises(tf.errors.InvalidArgumentError), plain_errors():
        tf.reshape(IMAGES, [5])
