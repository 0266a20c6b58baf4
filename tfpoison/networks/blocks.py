"""Layers that several families of networks share.

They are those of PyTorch, in which the authors' networks are written: BatchNorm with momentum 0.9
(PyTorch's 0.1) and epsilon 1e-5; zeros on *both* sides of an image before a strided convolution.
"""

from collections.abc import Sequence
from typing import Any

import keras


def torch_default() -> keras.initializers.Initializer:
    """PyTorch's default for kernels: uniform within ±1/√fan_in."""
    return keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")


def he_fan_out() -> keras.initializers.Initializer:
    """Normal with variance 2/fan_out (He et al. 2015), as torchvision's ResNets are drawn."""
    return keras.initializers.VarianceScaling(2, mode="fan_out", distribution="untruncated_normal")


def convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int = 3,
    *,
    strides: int = 1,
    use_bias: bool = False,
    initializer: keras.initializers.Initializer | None = None,
    name: str,
) -> keras.KerasTensor:
    """Convolves with as many zeros around the image as keep its size at stride 1."""
    x, padding = _pad(x, kernel_size, strides, name)
    layer = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=initializer or torch_default(),
        name=name,
    )
    return layer(x)


def depthwise_convolution(
    x: keras.KerasTensor, kernel_size: int = 3, *, strides: int = 1, name: str
) -> keras.KerasTensor:
    """Convolves each channel by itself, padded as `convolution` is."""
    x, padding = _pad(x, kernel_size, strides, name)
    # Keras counts all channels as the fan-in, PyTorch the one channel that a kernel sees.
    bound = 1 / kernel_size
    layer = keras.layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=keras.initializers.RandomUniform(-bound, bound),
        name=name,
    )
    return layer(x)


def _pad(
    x: keras.KerasTensor, kernel_size: int, strides: int, name: str
) -> tuple[keras.KerasTensor, str]:
    if strides == 1 or kernel_size == 1:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_padding")(x), "valid"


def batch_normalization(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Normalises over the batch."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def relu(x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
    """Rectifies."""
    return keras.layers.Activation("relu", name=name)(x)


def normalized_relu(
    x: keras.KerasTensor, *, name: str, use_batch_normalization: bool = True
) -> keras.KerasTensor:
    """BatchNorm, unless it is not wanted, and ReLU."""
    if use_batch_normalization:
        x = batch_normalization(x, name=f"{name}_bn")
    return relu(x, name=f"{name}_relu")


def convolution_block(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int = 3,
    *,
    use_batch_normalization: bool = True,
    name: str,
    **settings: Any,
) -> keras.KerasTensor:
    """A `convolution`, BatchNorm (unless it is not wanted), ReLU."""
    x = convolution(x, filters, kernel_size, name=name, **settings)
    return normalized_relu(x, name=name, use_batch_normalization=use_batch_normalization)


def global_average(x: keras.KerasTensor) -> keras.KerasTensor:
    """Averages over the image: the features, (n, channels)."""
    return keras.layers.GlobalAveragePooling2D(name="features")(x)


def plain_stack(
    x: keras.KerasTensor,
    plan: Sequence[int | str],
    *,
    pool_size: int,
    use_batch_normalization: bool,
) -> keras.KerasTensor:
    """Stacks 3 × 3 convolution blocks with biases and max pooling.

    Args:
        plan: the number of filters of each convolution, and "pool" for max pooling.
        pool_size: side and stride of the pooling.
        use_batch_normalization: whether each convolution is followed by BatchNorm.
    """
    convolutions = pools = 0
    for step in plan:
        if isinstance(step, int):
            convolutions += 1
            x = convolution_block(
                x,
                step,
                use_bias=True,
                use_batch_normalization=use_batch_normalization,
                name=f"conv{convolutions}",
            )
        else:
            pools += 1
            x = keras.layers.MaxPooling2D(pool_size, name=f"pool{pools}")(x)
    return x
