"""A multilayer perceptron for small images such as the digits."""

import keras

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture


def _mlp(images, *, width=256, batch_normalization=True):
    """Two hidden layers, of `width` and half as many units."""
    x = keras.layers.Flatten(name="flatten")(images)
    for number, units in enumerate([width, width // 2], start=1):
        dense = keras.layers.Dense(
            units, kernel_initializer=blocks.torch_default(), name=f"dense{number}"
        )
        x = blocks.normalized_relu(
            dense(x), name=f"dense{number}", use_batch_normalization=batch_normalization
        )
    return x


mlp = Architecture("mlp", _mlp, smallest_image=1)
