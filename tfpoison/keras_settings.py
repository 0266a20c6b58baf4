"""What of Keras's own settings this package depends on; nothing heavy is imported for a look."""

import json
import os
import pathlib
import sys
from collections.abc import Iterable
from typing import Any


def check_backend() -> None:
    """Raises ImportError where Keras runs, or would run, on another backend than TensorFlow."""
    keras: Any = sys.modules.get("keras")
    backend = keras.config.backend() if hasattr(keras, "config") else _configured_backend()
    if backend != "tensorflow":
        raise ImportError(
            "Expected Keras on TensorFlow, which tfpoison is written for. Received: the backend "
            f"{backend!r}. Set KERAS_BACKEND=tensorflow in the environment (or the backend in "
            "keras.json) before Keras is imported."
        )


def _configured_backend() -> str:
    """Returns the backend that Keras will choose when it is imported."""
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend
    home = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras")
    try:
        return json.loads((home / "keras.json").read_text()).get("backend", "tensorflow")
    except (OSError, ValueError, AttributeError):
        return "tensorflow"  # As Keras itself goes on.


def check_channels_last(layers: Iterable[Any] = ()) -> None:
    """Raises ValueError where channels stand first, in Keras's settings or in one of the layers."""
    import keras

    first = "channels_first"
    formats = {each.name: getattr(each, "data_format", None) for each in layers}
    wrong = [f"layer {name!r}" for name, data_format in formats.items() if data_format == first]
    if keras.config.image_data_format() == first:
        wrong.append("keras.config.image_data_format()")
    if wrong:
        raise ValueError(
            "Expected images of shape (n, height, width, channels), data_format="
            f'"channels_last". Received: "{first}" in {", ".join(wrong[:3])}. Make the network '
            'after keras.config.set_image_data_format("channels_last"), and transpose the images: '
            "tf.transpose(images, [0, 2, 3, 1])."
        )
