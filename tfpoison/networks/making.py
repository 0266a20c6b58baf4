"""Networks made by name, and a look beforehand at whether they can be."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from tfpoison import expression
from tfpoison.checks import check_number
from tfpoison.keras_settings import check_channels_last
from tfpoison.networks.architecture import seeded
from tfpoison.networks.table import NETWORKS

# No memory holds the weights between two layers of that width.
_GREATEST_WIDTH = 2**20


def get(
    name: str,
    image_shape: Sequence[int],
    classes: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = None,
    **choices: Any,
) -> keras.Model:
    """Returns a new network with fresh weights.

    Args:
        name: one of `names()`, or an expression such as `resnet18(width=16)`.
        image_shape: height, width and channels of the images.
        classes: the number of classes.
        mean: mean of the pixels of each channel, in [0, 1]; `std` must be given too. None: no
            normalisation (the networks of `keras.applications` then get pixels in [-1, 1]).
        std: standard deviation of the pixels of each channel.
        seed: the same seed gives the same initial weights, and the same dropout. None: they follow
            `keras.utils.set_random_seed`.
        **choices: what the network leaves open, None for as published: `width`, channels of the
            first block (units, for the perceptron), from which the others follow;
            `batch_normalization`, whether there is BatchNorm; and `patch_covariance` of
            `convnet_fast`, as `tfpoison.data.patch_covariance` finds it in training images.

    Returns:
        A Functional model from float images in [0, 1], (n, H, W, C), to logits, (n, classes).

    Raises:
        ValueError: the name is unknown, or a value cannot be, or the network has no such choice; or
            Keras is set to images with their channels first.
        TypeError: a value is of the wrong type.
    """
    check(name, image_shape, classes, mean=mean, std=std, seed=seed, **choices)
    name, own = expression.parse(name, NETWORKS.one)
    known = NETWORKS.settings(name)
    # A network of the user's own need not normalise.
    pixels = {each: value for each, value in (("mean", mean), ("std", std)) if each in known}
    given = {each: value for each, value in (pixels | choices).items() if value is not None}
    with seeded(seed):
        return NETWORKS.get(name, image_shape=image_shape, classes=classes, **own | given)


def check(
    name: str,
    image_shape: Sequence[int] | None = None,
    classes: int | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = None,
    **choices: Any,
) -> None:
    """Raises what `get` would for these arguments, None where not known yet, and builds nothing."""
    check_channels_last()
    name, own = expression.parse(name, NETWORKS.one)
    NETWORKS.check(name)
    for choice, value in (own | choices).items():
        if value is not None:
            _check_choice(name, choice, value)
    if classes is not None:
        check_number("classes", classes, minimum=2, whole=True)
    if seed is not None:
        check_number("seed", seed, minimum=0, whole=True)
    if image_shape is not None:
        _check_image_shape(name, image_shape)
    _check_normalization(mean, std, image_shape)


def _check_choice(name: str, choice: str, value: Any) -> None:
    if choice not in NETWORKS.settings(name):
        having = [each for each in NETWORKS if choice in NETWORKS.settings(each)]
        it = "a width" if choice == "width" else "the choice"
        raise ValueError(
            f"Expected no {choice}: the network {name!r} has no choice of it. Received: "
            f"{choice}={value!r}. Networks with {it}: {', '.join(having) or 'none'}"
        )
    if choice == "width":
        check_number("width", value, minimum=2, maximum=_GREATEST_WIDTH, whole=True)
    elif choice == "batch_normalization" and not isinstance(value, bool):
        raise TypeError(
            "Expected `batch_normalization` to be True, False or None. "
            f"Received: batch_normalization={value!r}"
        )


def _check_image_shape(name: str, image_shape: Sequence[int]) -> None:
    if len(image_shape) != 3 or not all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in image_shape
    ):
        raise ValueError(
            "Expected `image_shape` to be (height, width, channels), three positive integers. "
            f"Received: image_shape={image_shape!r}"
        )
    smallest = getattr(NETWORKS[name], "smallest_image", 1)
    if min(image_shape[:2]) < smallest:
        raise ValueError(
            f"Expected images of at least {smallest} × {smallest} pixels for the network "
            f"{name!r}. Received: image_shape={tuple(image_shape)}. Choose another network, or "
            "larger images."
        )


def _check_normalization(
    mean: Sequence[float] | None, std: Sequence[float] | None, image_shape: Sequence[int] | None
) -> None:
    if mean is None and std is None:
        return
    channels = None if image_shape is None else image_shape[-1]
    for name, values, lowest_allowed in [("mean", mean, True), ("std", std, False)]:
        if values is None or (channels is not None and len(values) != channels):
            raise ValueError(
                f"Expected `mean` and `std` to be given together, a number for each "
                f"{'channel' if channels is None else f'of the {channels} channels'}. "
                f"Received: mean={mean!r}, std={std!r}"
            )
        if not all(math.isfinite(value) and (value > 0 or lowest_allowed) for value in values):
            raise ValueError(
                f"Expected `{name}` to hold finite {'' if lowest_allowed else 'positive '}numbers. "
                f"Received: {name}={values!r}"
            )
