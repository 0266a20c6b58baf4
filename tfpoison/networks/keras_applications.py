"""Any network of `keras.applications`, by the name of its class, with fresh weights.

The user's pixels live in [0, 1]. What a family does to its pixels by itself is left out
(`include_preprocessing=False`); the EfficientNets, which always divide by 255, are handed pixels in
0–255. What remains is the same for all: normalisation by the mean and standard deviation that are
given, and without them the range [-1, 1].
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfpoison.networks import architecture

_SMALLEST_IMAGE = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


@dataclasses.dataclass(frozen=True)
class Application:
    """What makes the network of `keras.applications` of that name."""

    name: str

    @property
    def smallest_image(self) -> int:
        """The least height and width of the images, in pixels."""
        return _SMALLEST_IMAGE.get(self.name, 32)

    @property
    def about(self) -> tuple[Callable[..., Any], ...]:
        """What says in its docstring what the network is."""
        return (getattr(keras.applications, self.name),)

    def settings(self) -> dict[str, Any]:
        """Returns the settings, with their defaults."""
        return architecture.with_no_choice()

    def __call__(
        self,
        image_shape: Sequence[int],
        classes: int,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> keras.Model:
        """Returns the network: images in [0, 1], (n, H, W, C), to logits."""
        application = getattr(keras.applications, self.name)
        options = {}
        if "include_preprocessing" in inspect.signature(application).parameters:
            options["include_preprocessing"] = False
        images = keras.Input(tuple(image_shape), name="images")
        original = application(
            weights=None,
            input_tensor=_preprocessed(images, self.name, mean, std),
            input_shape=tuple(image_shape),
            classes=classes,
            classifier_activation=None,
            **options,
        )
        features = keras.layers.Flatten(name="features")(_input_of_last_weights(original))
        return keras.Model(images, architecture.logits(features, classes), name=self.name)


def __getattr__(name: str) -> Application:  # The table finds each network by its name here.
    if not hasattr(keras.applications, name):
        raise AttributeError(f"keras.applications has no {name}")
    return Application(name)


def _preprocessed(images, name, mean, std):
    if mean is None:
        images = keras.layers.Rescaling(2.0, offset=-1.0, name="to_minus_one_to_one")(images)
    else:
        images = architecture.normalized(images, mean, std)
    if name.startswith("EfficientNetB"):
        images = keras.layers.Rescaling(255.0, name="to_255")(images)
    return images


def _input_of_last_weights(network: keras.Model) -> keras.KerasTensor:
    """Returns what the last layer with weights sees.

    It is a Dense layer, or, in MobileNet and MobileNetV3, a 1 × 1 convolution of a 1 × 1 image,
    which is the same thing.
    """
    last = next(layer for layer in reversed(network.layers) if layer.weights)
    return last.input
