"""The paper's ConvNet, and a smaller one for experiments on a CPU."""

import keras

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture


def _convnet(images, *, width=32, batch_normalization=False):
    """Five convolutions and two poolings by 3 (`ConvNet` and `ConvNetBN` of the authors' code)."""
    plan = [width, 2 * width, 2 * width, 4 * width, "pool", 4 * width, "pool"]
    x = blocks.plain_stack(images, plan, pool_size=3, use_batch_normalization=batch_normalization)
    return keras.layers.Flatten(name="features")(x)


def _convnet_small(images, *, width=16):
    """Four conv-BatchNorm blocks, three of them of stride 2, and a global average."""
    x = images
    for number, (factor, strides) in enumerate([(1, 1), (2, 2), (4, 2), (4, 2)], start=1):
        x = blocks.convolution_block(x, factor * width, strides=strides, name=f"conv{number}")
    return blocks.global_average(x)


convnet = Architecture("convnet", _convnet, smallest_image=9)
convnet_small = Architecture("convnet_small", _convnet_small, smallest_image=4)
