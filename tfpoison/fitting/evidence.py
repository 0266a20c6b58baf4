"""What filters are told of examples: by networks, by repaired ones, or by the images alone."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfpoison.data import Examples
from tfpoison.defenses.filters.base import Evidence
from tfpoison.evaluation import Predictor
from tfpoison.pixel_range import to_unit_range
from tfpoison.randomness import Purpose
from tfpoison.repairing.repairing import repair

_BATCH = 512


def averaged(examples: Examples, side: int) -> np.ndarray:
    """Returns all images in [0, 1], float32 (n, H, W, C), averaged to `side` pixels at most."""
    height, width, channels = examples.image_shape
    scale = min(1, side / max(height, width))
    shape = [max(1, round(scale * each)) for each in (height, width)]
    # One array from the start: there may be no room for a second one.
    images = np.empty((examples.size, *shape, channels), np.float32)
    for number, batch in enumerate(examples.batches(_BATCH)):
        some = to_unit_range(tf.constant(batch))
        if scale < 1:
            some = tf.image.resize(some, shape, method="area")
        images[number * _BATCH :][: len(batch)] = some
    return images


def asked(predictor: Predictor, evidence: Evidence, examples: Examples) -> np.ndarray:
    """Returns what a network says of each example, (n, d)."""
    if evidence.answers == "features":
        return predictor.features(examples)
    ask = {"losses": predictor.losses, "margins": predictor.margins}[evidence.answers]
    return ask(examples, examples.labels)[:, np.newaxis]


def asked_repaired(
    predictor: Predictor, evidence: Evidence, examples: Examples, seed: int
) -> Iterator[np.ndarray]:
    """Yields what a network says of each example once it is repaired, with ever other examples."""
    assert evidence.repair is not None
    network, draw = predictor.network, Purpose.REPAIR.generator(seed)
    trained, count = network.get_weights(), min(evidence.repair_images, examples.size)
    for number in range(evidence.repairs):
        some = np.sort(draw.choice(examples.size, count, replace=False))
        images, labels = examples.read(some), examples.labels[some]
        network.set_weights(trained)
        repaired = repair(network, images, labels, evidence.repair, seed=seed + number)
        # In place of the network's: the predictor is traced already.
        network.set_weights(repaired.get_weights())
        yield asked(predictor, evidence, examples)
