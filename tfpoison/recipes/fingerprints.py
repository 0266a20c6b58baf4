"""Digests by which images and data sets are known again."""

import hashlib

import numpy as np
import tensorflow as tf

from tfpoison.data import Examples
from tfpoison.pixel_range import PixelRange

_FINGERPRINT_IMAGES = 10_000


def fingerprint(examples: Examples) -> str:
    """Returns a digest of examples: ids, labels, and of up to 10,000 images at equal distances."""
    digest = hashlib.sha256(repr((examples.size, tuple(examples.image_shape))).encode())
    digest.update(np.ascontiguousarray(examples.ids, "<i8").tobytes())
    digest.update(np.ascontiguousarray(examples.labels, "<i8").tobytes())
    for images in examples.spread(_FINGERPRINT_IMAGES).batches(64):
        digest.update(images.tobytes())
    return digest.hexdigest()


def digest_of_element(image: tf.Tensor, pixels: PixelRange) -> bytes:
    """Returns the digest of an image of a pipeline, as the 8-bit image that it was."""
    if not image.dtype.is_integer:
        image = tf.round(255 * pixels.to_shares(image))
    return digests_of(image.numpy().astype(np.uint8)[np.newaxis])[0].tobytes()


def digests_of(images: np.ndarray) -> np.ndarray:
    """Returns the SHA-256 of each image, uint8 (n, 32)."""
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
