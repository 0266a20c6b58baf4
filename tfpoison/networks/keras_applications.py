"""Any network of `keras.applications`, by the name of its class, with fresh weights.

What a family does to its pixels by itself is left out (`include_preprocessing=False`); the
EfficientNets, which always divide by 255, are handed pixels in 0–255. What remains is the same for
all: normalisation by the mean and standard deviation given, and without them the range [-1, 1].
"""

import inspect

import keras

from tfpoison.networks.architecture import Architecture

_SMALLEST_IMAGE = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}


def __getattr__(name: str) -> Architecture:  # The table finds each network by its name here.
    application = getattr(keras.applications, name, None)
    if application is None:
        raise AttributeError(f"keras.applications has no {name}")

    def features(images):
        options = {}
        if "include_preprocessing" in inspect.signature(application).parameters:
            options["include_preprocessing"] = False
        if name.startswith("EfficientNetB"):
            images = keras.layers.Rescaling(255.0, name="to_255")(images)
        original = application(
            weights=None,
            input_tensor=images,
            input_shape=images.shape[1:],
            # Of the last layer, in whose place another one comes.
            classes=2,
            classifier_activation=None,
            **options,
        )
        # It is a Dense layer, or, in MobileNet and MobileNetV3, a 1 × 1 convolution of a 1 × 1
        # image, which is the same thing.
        last = next(layer for layer in reversed(original.layers) if layer.weights)
        return keras.layers.Flatten(name="features")(last.input)

    features.__doc__ = application.__doc__
    return Architecture(name, features, _SMALLEST_IMAGE.get(name, 32), _to_minus_one_to_one)


def _to_minus_one_to_one(images):
    return keras.layers.Rescaling(2.0, offset=-1.0, name="to_minus_one_to_one")(images)
