"""What every network has around its own layers: input, normalisation, last Dense layer."""

import contextlib
import dataclasses
import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from tfpoison.networks import blocks


def _unchanged(images: keras.KerasTensor) -> keras.KerasTensor:
    """Returns images as they are."""
    return images


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What makes a network of its own layers.

    Attributes:
        features: maps normalised images to the features, a tensor of shape (n, features). Its
            keyword arguments, `width` and `batch_normalization`, are the choices there are, with
            what was published for their defaults.
        smallest_image: the least height and width of the images, in pixels.
        unnormalized: maps images in [0, 1] to what the features are of where no mean is given.
    """

    name: str
    features: Callable[..., keras.KerasTensor]
    smallest_image: int
    unnormalized: Callable[[keras.KerasTensor], keras.KerasTensor] = _unchanged

    @property
    def about(self) -> tuple[Callable[..., Any], ...]:
        """What says in its docstring what the network is."""
        return (self.features,)

    def settings(self) -> dict[str, Any]:
        """Returns the settings, with their defaults."""
        choices = list(inspect.signature(self.features).parameters.values())[1:]
        needed = dict.fromkeys(("image_shape", "classes"), inspect.Parameter.empty)
        published = {each.name: each.default for each in choices}
        return {**published, **needed, "mean": None, "std": None}

    def __call__(
        self,
        image_shape: Sequence[int],
        classes: int,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **choices: Any,
    ) -> keras.Model:
        """Returns the network: images in [0, 1], (n, H, W, C), to logits."""
        images = keras.Input(tuple(image_shape), name="images")
        if mean is None or std is None:
            pixels = self.unnormalized(images)
        else:
            pixels = _normalized(images, mean, std)
        features = self.features(pixels, **choices)
        return keras.Model(images, _logits(features, classes), name=self.name)


def _normalized(
    images: keras.KerasTensor, mean: Sequence[float], std: Sequence[float]
) -> keras.KerasTensor:
    """Returns (images - mean) / std per channel."""
    variance = [float(value) ** 2 for value in std]
    normalization = keras.layers.Normalization(
        mean=[float(value) for value in mean], variance=variance, name="pixel_normalization"
    )
    return normalization(images)


def _logits(features: keras.KerasTensor, classes: int) -> keras.KerasTensor:
    # They keep the precision of the weights, as Keras advises for mixed precision.
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

    Keras draws the seed of each initializer and dropout layer that has none from Python's `random`,
    in networks that others wrote as well; its state is put back afterwards. Without a seed the
    weights follow `keras.utils.set_random_seed`.
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
