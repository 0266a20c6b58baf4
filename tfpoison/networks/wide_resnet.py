"""Wide ResNets: `wide_resnet_DEPTH_FACTOR`.

Zagoruyko, Komodakis, "Wide Residual Networks", arXiv 1605.07146: blocks of two 3 × 3 convolutions,
each *after* its BatchNorm and ReLU, with FACTOR times the filters of a ResNet for small images.
"""

import keras

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture


def _block(x, filters, strides, name):
    """BatchNorm, ReLU and convolution, twice; the shortcut starts after the first ReLU."""
    y = blocks.normalized_relu(x, name=f"{name}_pre1")
    if x.shape[-1] != filters:
        x = _convolution(y, filters, 1, strides, f"{name}_shortcut")
    y = _convolution(y, filters, 3, strides, f"{name}_conv1")
    y = blocks.normalized_relu(y, name=f"{name}_pre2")
    y = _convolution(y, filters, 3, 1, f"{name}_conv2")
    return keras.layers.Add(name=f"{name}_add")([x, y])


def _convolution(x, filters, kernel_size, strides, name):
    return blocks.convolution(
        x, filters, kernel_size, strides=strides, initializer=blocks.he_fan_out(), name=name
    )


def _wide_resnet(depth: int, factor: int) -> Architecture:
    """Returns the network of `depth` = 6 n + 4 layers: three stages of n blocks."""

    def features(images):
        """A wide ResNet, wide_resnet_DEPTH_FACTOR (arXiv 1605.07146)."""
        x = _convolution(images, 16, 3, 1, "stem")
        for stage in range(3):
            for number in range((depth - 4) // 6):
                strides = 2 if stage > 0 and number == 0 else 1
                name = f"stage{stage + 1}_block{number + 1}"
                x = _block(x, 16 * factor * 2**stage, strides, name)
        return blocks.global_average(blocks.normalized_relu(x, name="last"))

    return Architecture(f"wide_resnet_{depth}_{factor}", features, smallest_image=4)


wide_resnet_16_4 = _wide_resnet(16, 4)
wide_resnet_16_8 = _wide_resnet(16, 8)
wide_resnet_28_10 = _wide_resnet(28, 10)
wide_resnet_40_2 = _wide_resnet(40, 2)
wide_resnet_40_4 = _wide_resnet(40, 4)
