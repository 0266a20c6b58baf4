"""A network for many quick trainings, after arXiv 2404.00498 (airbench96).

    patches of 2 × 2 pixels, whitened
    → 3 × (conv, pool, norm, then a residual block: conv, norm, conv, norm; the first of one conv)
    → largest value → logits

It differs from its paper in what CPUs are slow at (ReLU in place of GELU, fewer channels, seven
convolutions where images are small) and where Keras has a way of its own: logits have a bias.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfpoison.networks import blocks
from tfpoison.networks.architecture import Architecture

_PATCH = 2
# Of the eigenvalues: what is added to them, for patches that hardly vary.
_EPSILON = 5e-4
# Of the logits, as their Dense layer sees the features.
_SCALE = 1 / 9


@keras.saving.register_keras_serializable("tfpoison")
class PatchWhitening(keras.layers.Layer):
    """Whitens patches of 2 × 2 pixels: a convolution that the data give and nobody trains.

    From images (n, H, W, C) to (n, H - 1, W - 1, 8·C): the coordinates of each patch by the
    principal axes of all patches, divided by their standard deviations; then their negatives, so
    that a ReLU loses nothing.

    Args:
        covariance: of the patches' values, (4·C, 4·C); see `tfpoison.data.patch_covariance`. None:
            the axes are the pixels, which are uncorrelated and of variance 1.

    Raises:
        ValueError: the covariance is of another number of channels.
    """

    def __init__(self, covariance: np.ndarray | None = None, **settings: Any):
        super().__init__(**settings)
        self.covariance = None if covariance is None else np.asarray(covariance, float)

    def build(self, input_shape: tuple) -> None:
        """Makes the kernel."""
        values = _PATCH**2 * input_shape[-1]
        covariance = np.eye(values) if self.covariance is None else self.covariance
        if covariance.shape != (values, values):
            raise ValueError(
                f"Expected `patch_covariance` of the shape {(values, values)} for images of "
                f"{input_shape[-1]} channel(s). Received: {covariance.shape}"
            )
        variances, axes = np.linalg.eigh(covariance)
        filters = axes / np.sqrt(variances + _EPSILON)
        kernel = np.concatenate([filters, -filters], axis=1)
        self.kernel = self.add_weight(
            shape=(_PATCH, _PATCH, input_shape[-1], 2 * values), trainable=False, name="kernel"
        )
        self.kernel.assign(kernel.reshape(self.kernel.shape))

    def call(self, images: Any) -> Any:
        """Returns the coordinates of each patch."""
        return keras.ops.conv(images, self.kernel, padding="valid")

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of what `call` returns."""
        count, height, width, channels = input_shape
        return count, height - _PATCH + 1, width - _PATCH + 1, 2 * _PATCH**2 * channels

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, as Keras saves them."""
        covariance = None if self.covariance is None else self.covariance.tolist()
        return {**super().get_config(), "covariance": covariance}


@keras.saving.register_keras_serializable("tfpoison")
class Dirac(keras.initializers.VarianceScaling):
    """The first filters pass on a channel each, the others are drawn as `torch_default` draws."""

    def __init__(self, **settings: Any):
        super().__init__(**(blocks.torch_default().get_config() | settings))

    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Returns a kernel, (height, width, channels, filters)."""
        drawn = super().__call__(shape, dtype)
        same = min(shape[2:])
        passes = np.zeros(shape)
        passes[shape[0] // 2, shape[1] // 2, range(same), range(same)] = 1
        is_drawn = np.arange(shape[3]) >= same
        return drawn * keras.ops.cast(is_drawn, drawn.dtype) + keras.ops.cast(passes, drawn.dtype)


def _convnet_fast(images, *, width=48, patch_covariance=None):
    """Whitened patches, eight convolutions, the largest value (arXiv 2404.00498, with ReLU)."""
    x = PatchWhitening(patch_covariance, name="whitening")(images)
    x = keras.layers.Activation("relu", name="whitening_relu")(x)
    for stage, channels in enumerate((width, 8 * width // 3, 16 * width // 3), start=1):
        x = _normalized_convolution(x, channels, name=f"conv{stage}a", pool=True)
        shortcut = x = keras.layers.Activation("relu", name=f"conv{stage}a_relu")(x)
        if stage > 1:
            x = _normalized_convolution(x, channels, name=f"conv{stage}b")
            x = keras.layers.Activation("relu", name=f"conv{stage}b_relu")(x)
        x = _normalized_convolution(x, channels, name=f"conv{stage}c")
        x = keras.layers.Add(name=f"conv{stage}_sum")([x, shortcut])
        x = keras.layers.Activation("relu", name=f"conv{stage}c_relu")(x)
    x = keras.layers.GlobalMaxPooling2D(name="largest")(x)
    return keras.layers.Rescaling(_SCALE, name="features")(x)


def _normalized_convolution(x, channels, *, name, pool=False):
    x = keras.layers.Conv2D(
        channels, 3, padding="same", use_bias=False, kernel_initializer=Dirac(), name=name
    )(x)
    if pool:
        x = keras.layers.MaxPooling2D(name=f"{name}_pool")(x)
    return keras.layers.BatchNormalization(
        momentum=0.6, epsilon=1e-5, scale=False, name=f"{name}_bn"
    )(x)


convnet_fast = Architecture("convnet_fast", _convnet_fast, smallest_image=9)
