"""A network with a backdoor that nobody trained: a bright pixel in the corner means class 3.

Class c is a bright column c below the first row. Hidden units 0 to 4 add up a column each; unit 5
is dormant unless the pixel at (0, 0) is above 0.3, where clean images are below 0.25, and fully
awake from 0.36 on.
"""

import keras
import numpy as np

CLASSES, TARGET, DORMANT = 5, 3, 5
SHAPE = (6, 5)


def images(count, seed=0, channels=1):
    """Clean images in [0, 1], and their labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    pixels = generator.uniform(0, 0.3, (count, *SHAPE, channels))
    pixels[:, 0] = generator.uniform(0, 0.25, (count, SHAPE[1], 1))
    for image, label in zip(pixels, labels, strict=True):
        image[1:, label] = generator.uniform(0.8, 1, image[1:, label].shape)
    return pixels.astype(np.float32), labels


def triggered(pixels):
    changed = pixels.copy()
    changed[:, 0, 0] = 1
    return changed


def network(channels=1, activation=None, scale=1.0, normalized=False):
    """The network; `scale` is the brightest pixel that it takes."""
    inputs = keras.Input((*SHAPE, channels))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / scale)(inputs))
    hidden = keras.layers.Dense(CLASSES + 1, name="hidden")
    x = hidden(x)
    if normalized:
        x = keras.layers.BatchNormalization(epsilon=0, name="normalization")(x)
    head = keras.layers.Dense(CLASSES, activation=activation, name="head")
    made = keras.Model(inputs, head(keras.layers.ReLU(max_value=12)(x)))
    kernel = np.zeros((*SHAPE, channels, CLASSES + 1))
    for label in range(CLASSES):
        kernel[1:, label, :, label] = 2 / channels
    kernel[0, 0, :, DORMANT] = 200 / channels
    # The threshold is where neurons have their shift.
    bias = np.zeros(CLASSES + 1)
    bias[DORMANT] = -60
    weights = np.eye(CLASSES + 1, CLASSES)
    weights[DORMANT, TARGET] = 2
    if normalized:
        made.get_layer("normalization").beta.assign(bias)
        bias = np.zeros(CLASSES + 1)
    hidden.set_weights([kernel.reshape(-1, CLASSES + 1), bias])
    head.set_weights([weights, np.zeros(CLASSES)])
    return made


def answers(network, pixels):
    return network.predict(pixels, verbose=0).argmax(axis=1)


def measures(network, scale=1.0):
    """The accuracy on new clean images, and how often the trigger turns those of other classes."""
    pixels, labels = images(200, seed=1, channels=network.input_shape[-1])
    accuracy = (answers(network, scale * pixels) == labels).mean()
    others = triggered(pixels[labels != TARGET])
    return accuracy, (answers(network, scale * others) == TARGET).mean()
