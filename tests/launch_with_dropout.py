"""`tfpoison.launch` with a tiny network that has dropout, for the tests beside it. (Not a test.)"""

import sys

import keras

from tfpoison import launch, networks


def make_network(*, image_shape, classes, seed, **unused):
    keras.utils.set_random_seed(seed)
    layers = [
        keras.layers.Conv2D(8, 3, strides=2),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(classes),
    ]
    return keras.Sequential([keras.Input(image_shape), *layers])


if __name__ == "__main__":
    networks.get = make_network
    sys.exit(launch.main(sys.argv[1:]))
