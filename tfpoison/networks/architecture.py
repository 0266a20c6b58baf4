"""What every network has around its own layers: input, normalisation, last Dense layer."""

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import keras

from tfpoison.networks import blocks


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network by its own layers.

    Attributes:
        features: maps (normalised images, width, batch_normalization) to the features, a tensor of
            shape (n, features).
        smallest_image: the least height and width of the images, in pixels.
        width: the default width, the number of channels of the first block; None: no choice.
        batch_normalization: whether BatchNorm is used by default; None: no choice.
    """

    features: Callable[[keras.KerasTensor, int | None, bool | None], keras.KerasTensor]
    smallest_image: int
    width: int | None = None
    batch_normalization: bool | None = None


def build(
    architecture: Architecture,
    name: str,
    image_shape: Sequence[int],
    classes: int,
    *,
    width: int | None,
    batch_normalization: bool | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
) -> keras.Model:
    """Returns the network of an architecture: images in [0, 1], (n, H, W, C), to logits."""
    images = keras.Input(tuple(image_shape), name="images")
    features = architecture.features(
        normalized(images, mean, std),
        architecture.width if width is None else width,
        architecture.batch_normalization if batch_normalization is None else batch_normalization,
    )
    return keras.Model(images, logits(features, classes), name=name)


def normalized(
    images: keras.KerasTensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> keras.KerasTensor:
    """Returns (images - mean) / std per channel; the images themselves where there is no mean."""
    if mean is None or std is None:
        return images
    variance = [float(value) ** 2 for value in std]
    normalization = keras.layers.Normalization(
        mean=[float(value) for value in mean], variance=variance, name="pixel_normalization"
    )
    return normalization(images)


def logits(features: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    """Returns the logits of features: the last Dense layer.

    The logits keep the precision of the weights, as Keras advises for mixed precision.
    """
    dense = keras.layers.Dense(
        classes,
        kernel_initializer=blocks.torch_default(),
        dtype=keras.config.dtype_policy().variable_dtype,
        name="logits",
    )
    return dense(features)


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Makes the layers that are built inside draw the same initial weights for the same seed.

    Keras draws the seed of each initializer and dropout layer that has none from Python's `random`;
    its state is put back afterwards, so nothing else is influenced. Networks that others wrote are
    reached as well, which seeds handed to our own initializers would not do.

    Args:
        seed: the seed. None: the weights follow `keras.utils.set_random_seed`.
    """
    if seed is None:
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
