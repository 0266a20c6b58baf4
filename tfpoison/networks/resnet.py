"""ResNets for small images: a 3 × 3 stem of stride 1 and no pooling before the stages.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385, with the
projection shortcuts of torchvision, as the authors' code has them.
"""

from collections.abc import Callable

import keras

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture


def _basic_block(x, filters, strides, name):
    """Two 3 × 3 convolutions."""
    y = _convolution_block(x, filters, 3, strides, f"{name}_conv1")
    y = _convolution_without_relu(y, filters, 3, 1, f"{name}_conv2")
    return blocks.relu(_add(x, y, strides, name), name=f"{name}_out")


def _bottleneck_block(x, filters, strides, name):
    """A 3 × 3 convolution between two of 1 × 1, the last with four times the filters."""
    y = _convolution_block(x, filters, 1, 1, f"{name}_conv1")
    y = _convolution_block(y, filters, 3, strides, f"{name}_conv2")
    y = _convolution_without_relu(y, 4 * filters, 1, 1, f"{name}_conv3")
    return blocks.relu(_add(x, y, strides, name), name=f"{name}_out")


def _add(x, y, strides, name):
    """Adds the shortcut: x itself where the shape allows it, else a projection of it."""
    if strides != 1 or x.shape[-1] != y.shape[-1]:
        x = _convolution_without_relu(x, y.shape[-1], 1, strides, f"{name}_shortcut")
    return keras.layers.Add(name=f"{name}_add")([x, y])


def _convolution_block(x, filters, kernel_size, strides, name):
    return blocks.convolution_block(
        x, filters, kernel_size, strides=strides, initializer=blocks.he_fan_out(), name=name
    )


def _convolution_without_relu(x, filters, kernel_size, strides, name):
    x = blocks.convolution(
        x, filters, kernel_size, strides=strides, initializer=blocks.he_fan_out(), name=name
    )
    return blocks.batch_normalization(x, name=f"{name}_bn")


def _resnet(name: str, block: Callable, depths: list[int], published_width: int) -> Architecture:
    """Returns a ResNet with `depths` blocks a stage; each stage doubles the filters."""

    def features(images, *, width=published_width):
        """A ResNet for small images (arXiv 1512.03385): a 3 × 3 stem of stride 1, no pooling."""
        x = _convolution_block(images, width, 3, 1, "stem")
        for stage, depth in enumerate(depths):
            for number in range(depth):
                strides = 2 if stage > 0 and number == 0 else 1
                name = f"stage{stage + 1}_block{number + 1}"
                x = block(x, width * 2**stage, strides, name)
        return blocks.global_average(x)

    return Architecture(name, features, smallest_image=8)


resnet18 = _resnet("resnet18", _basic_block, [2, 2, 2, 2], 64)
resnet20 = _resnet("resnet20", _basic_block, [3, 3, 3], 16)
resnet32 = _resnet("resnet32", _basic_block, [5, 5, 5], 16)
resnet50 = _resnet("resnet50", _bottleneck_block, [3, 4, 6, 3], 64)
