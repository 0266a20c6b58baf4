"""Mixing in the data pipeline, for training without `tfpoison.RobustModel`."""

import tensorflow as tf

from tfpoison.checks import check_number
from tfpoison.defenses.mixing.base import Batch, Mixing
from tfpoison.defenses.mixing.table import get
from tfpoison.randomness import Purpose


def on_batches(dataset: tf.data.Dataset, mixing: str | Mixing, seed: int = 0) -> tf.data.Dataset:
    """Mixes the batches of a data set.

    The draws depend on the seed and on the number of the batch: a data set that is iterated again
    draws the same again. For other draws in every epoch, repeat the data set before.

    Args:
        dataset: batches of (images, labels) as `Mixing.mix` takes them.
        mixing: a mixing or its name.
        seed: the seed of all draws, at least 0.

    Returns:
        A data set of batches of the same shapes and dtypes.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the name is unknown, the mixing needs the network that is trained (MaxUp), or
            the batches are not as above.
    """
    check_number("seed", seed, minimum=0, whole=True)
    chosen = get(mixing)
    if chosen is None:
        raise TypeError("Expected `mixing` to be the name of a mixing or a Mixing. Received: None")
    chosen.check_classifier(None)
    if not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) != 2:
        raise ValueError(
            "Expected `dataset` to hold batches of (images, labels). Received batches of "
            f"{dataset.element_spec}"
        )

    def mix(number: tf.Tensor, batch: Batch) -> Batch:
        return chosen.mix(None, *batch, Purpose.MIXING_OF_A_DATA_SET.key(seed, number))

    return dataset.enumerate().map(mix, tf.data.AUTOTUNE)
