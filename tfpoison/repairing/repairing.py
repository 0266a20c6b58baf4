"""The call that repairs a network."""

from typing import Any

import keras
import numpy as np

from tfpoison.repairing.base import Repair
from tfpoison.repairing.subject import Subject
from tfpoison.repairing.table import REPAIRS
from tfpoison.training.divergence import DivergedError


def repair(
    network: keras.Model,
    clean_images: np.ndarray,
    labels: np.ndarray,
    method: str | Repair = "universal",
    *,
    pixel_range: Any = (0.0, 1.0),
    seed: int = 0,
    **settings: Any,
) -> keras.Model:
    """Takes backdoors out of a trained network, with few clean images and no word of the trigger.

    ```python
    repaired = tfpoison.repair(keras.models.load_model("theirs.keras"), images, labels)
    ```

    Args:
        network: from images in the pixel range to logits or probabilities, (n, classes); Functional
            or Sequential. It is left as it is. Of a network that is partly frozen, methods change
            what trains alone.
        clean_images: some 50 to 500, of all classes, that nobody has tampered with and that are as
            those the network is used on: (n, height, width, channels), uint8 in 0–255, or floats in
            the network's pixel range.
        labels: their classes, integers (n,) or one-hot (n, classes).
        method: a name of `tfpoison.repairing.table.REPAIRS`, an expression such as
            `"universal(epsilon=0.1)"`, or a method.
        pixel_range: (low, high), the range of pixels that the network takes, as numbers or with one
            for each channel.
        seed: the same seed repairs the same.
        **settings: those of the method, beside its name.

    Returns:
        A repaired copy, not compiled.

    Raises:
        TypeError, ValueError: an argument is something else than is said here, or the method cannot
            repair this network.
        DivergedError: the repair has come to weights that are not finite; it is a `ValueError`.
    """
    found = REPAIRS.get(method, **settings)
    subject = Subject.of(network, clean_images, labels, pixel_range, seed).copy()
    found.repair(subject)
    if not all(np.isfinite(each).all() for each in subject.network.get_weights()):
        raise DivergedError(
            f"Expected a repair that converges. Received: weights that are not finite, of {found}. "
            "Give a smaller learning_rate, or other settings."
        )
    return subject.network
