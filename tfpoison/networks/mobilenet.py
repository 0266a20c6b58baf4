"""MobileNetV2 for small images.

Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
arXiv 1801.04381, in the form that the authors' code uses: the first two strides are 1, and blocks
of stride 1 that change the number of channels have a projection shortcut.
"""

import keras

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture

# Expansion, filters, number of blocks, stride of the first.
_STAGES = [
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


def _inverted_residual(x, expansion, filters, strides, name):
    """Expands by 1 × 1, filters each channel by 3 × 3, projects by 1 × 1 without ReLU."""
    y = blocks.convolution_block(x, expansion * x.shape[-1], 1, name=f"{name}_expand")
    y = blocks.depthwise_convolution(y, strides=strides, name=f"{name}_depthwise")
    y = blocks.normalized_relu(y, name=f"{name}_depthwise")
    y = _projection(y, filters, f"{name}_project")
    if strides != 1:
        return y
    if x.shape[-1] != filters:
        x = _projection(x, filters, f"{name}_shortcut")
    return keras.layers.Add(name=f"{name}_add")([x, y])


def _projection(x, filters, name):
    return blocks.batch_normalization(
        blocks.convolution(x, filters, 1, name=name), name=f"{name}_bn"
    )


def _mobilenet_v2(images):
    """MobileNetV2 for small images (arXiv 1801.04381): the first two strides are 1."""
    x = blocks.convolution_block(images, 32, name="stem")
    for stage, (expansion, filters, count, first_strides) in enumerate(_STAGES, start=1):
        for number in range(1, count + 1):
            strides = first_strides if number == 1 else 1
            name = f"stage{stage}_block{number}"
            x = _inverted_residual(x, expansion, filters, strides, name)
    return blocks.global_average(blocks.convolution_block(x, 1280, 1, name="last"))


mobilenet_v2 = Architecture("mobilenet_v2", _mobilenet_v2, smallest_image=8)
