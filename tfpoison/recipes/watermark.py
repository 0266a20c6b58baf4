"""Watermarks: a faint target in every poison."""

import numpy as np
import tensorflow as tf

from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.perturbations import Blend
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose


def blend(images: np.ndarray, targets: np.ndarray, opacity: float) -> np.ndarray:
    """Returns images blended with targets, which are dealt out in turn (`perturbations.Blend`).

    Source: arXiv 1804.00792, section 3.

    Args:
        images: uint8 in 0–255, (n, H, W, C).
        targets: uint8 in 0–255, (targets, H, W, C).
        opacity: the share of the target, from 0 to 1.
    """
    fake_labels = tf.zeros(len(targets), tf.int64)
    batch = SplitBatch(
        tf.constant(images, tf.float32) / 255,
        tf.zeros(len(images), tf.int64),
        tf.constant(targets, tf.float32) / 255,
        fake_labels,
        fake_labels,
    )
    encoding = LabelEncoding(2, one_hot=False)
    bound = Blend(opacity).bind(
        batch, pixels=PixelRange(), encoding=encoding, key=Purpose.CRAFTING.key(0)
    )
    poisoned = bound.finish(bound.initial).poison_images
    return np.rint(255 * poisoned.numpy()).astype(np.uint8)
