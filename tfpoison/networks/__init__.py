"""Image classifiers by name, as Keras Functional models.

All take images in [0, 1] of shape (n, H, W, C) and end in a Dense layer named `logits`; the input
of that layer is the features. Normalisation of the pixels is a layer inside.
"""

import math
from collections.abc import Sequence

import keras

from tfpoison.checks import check_name, check_number
from tfpoison.keras_settings import check_channels_last
from tfpoison.networks import (
    architecture,
    convnet,
    keras_applications,
    mlp,
    mobilenet,
    resnet,
    vgg,
    wide_resnet,
)
from tfpoison.networks.architecture import Architecture

_ARCHITECTURES: dict[str, Architecture] = {
    **convnet.ARCHITECTURES,
    **mlp.ARCHITECTURES,
    **mobilenet.ARCHITECTURES,
    **resnet.ARCHITECTURES,
    **vgg.ARCHITECTURES,
    **wide_resnet.ARCHITECTURES,
}

__all__ = ["check", "get", "names"]

# No memory holds the weights between two layers of that width.
_GREATEST_WIDTH = 2**20


def names() -> list[str]:
    """Returns the names of the networks: those for small images, then `keras.applications`."""
    return [*_ARCHITECTURES, *keras_applications.names()]


def get(
    name: str,
    image_shape: Sequence[int],
    classes: int,
    *,
    width: int | None = None,
    batch_normalization: bool | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Returns a new network with fresh weights.

    Args:
        name: one of `names()`.
        image_shape: height, width and channels of the images.
        classes: the number of classes.
        width: channels of the first block (units, for the perceptron), from which the others
            follow. None: as published.
        batch_normalization: whether there is BatchNorm, for networks that leave the choice.
            None: as published.
        mean: mean of the pixels of each channel, in [0, 1]; `std` must be given too. None: no
            normalisation (the networks of `keras.applications` then get pixels in [-1, 1]).
        std: standard deviation of the pixels of each channel.
        seed: the same seed gives the same initial weights, and the same dropout. None: they follow
            `keras.utils.set_random_seed`.

    Returns:
        A Functional model from float images in [0, 1], (n, H, W, C), to logits, (n, classes).

    Raises:
        ValueError: the name is unknown, or a value cannot be, or the network has no such choice; or
            Keras is set to images with their channels first.
        TypeError: a value is of the wrong type.
    """
    check(
        name,
        image_shape,
        classes,
        width=width,
        batch_normalization=batch_normalization,
        mean=mean,
        std=std,
        seed=seed,
    )
    with architecture.seeded(seed):
        if name not in _ARCHITECTURES:
            return keras_applications.build(name, image_shape, classes, mean=mean, std=std)
        return architecture.build(
            _ARCHITECTURES[name],
            name,
            image_shape,
            classes,
            width=width,
            batch_normalization=batch_normalization,
            mean=mean,
            std=std,
        )


def check(
    name: str,
    image_shape: Sequence[int] | None = None,
    classes: int | None = None,
    *,
    width: int | None = None,
    batch_normalization: bool | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int | None = None,
) -> None:
    """Raises what `get` would raise for these arguments, without building anything.

    Args:
        name: see `get`.
        image_shape: see `get`; None where it is not known yet.
        classes: see `get`; None where it is not known yet.
        width: see `get`.
        batch_normalization: see `get`.
        mean: see `get`.
        std: see `get`.
        seed: see `get`.

    Raises:
        ValueError: the name is unknown, or a value cannot be, or the network has no such choice; or
            Keras is set to images with their channels first.
        TypeError: a value is of the wrong type.
    """
    check_channels_last()
    check_name("network", name, names())
    _check_options(name, width, batch_normalization)
    if classes is not None:
        check_number("classes", classes, minimum=2, whole=True)
    if seed is not None:
        check_number("seed", seed, minimum=0, whole=True)
    if image_shape is not None:
        _check_image_shape(name, image_shape)
    _check_normalization(mean, std, image_shape)


def _check_options(name: str, width: int | None, batch_normalization: bool | None) -> None:
    known = _ARCHITECTURES.get(name)
    if width is not None:
        if known is None or known.width is None:
            raise ValueError(
                f"Expected no width: the network {name!r} has no choice of it. "
                f"Received: width={width!r}. Networks with a width: {_having('width')}"
            )
        check_number("width", width, minimum=2, maximum=_GREATEST_WIDTH, whole=True)
    if batch_normalization is not None:
        if known is None or known.batch_normalization is None:
            raise ValueError(
                f"Expected no batch_normalization: the network {name!r} has no choice of it. "
                f"Received: batch_normalization={batch_normalization!r}. "
                f"Networks with the choice: {_having('batch_normalization')}"
            )
        if not isinstance(batch_normalization, bool):
            raise TypeError(
                "Expected `batch_normalization` to be True, False or None. "
                f"Received: batch_normalization={batch_normalization!r}"
            )


def _having(choice: str) -> str:
    return ", ".join(
        name for name, known in _ARCHITECTURES.items() if getattr(known, choice) is not None
    )


def _check_image_shape(name: str, image_shape: Sequence[int]) -> None:
    if len(image_shape) != 3 or not all(
        isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in image_shape
    ):
        raise ValueError(
            "Expected `image_shape` to be (height, width, channels), three positive integers. "
            f"Received: image_shape={image_shape!r}"
        )
    known = _ARCHITECTURES.get(name)
    smallest = known.smallest_image if known else keras_applications.smallest_image(name)
    height, width, _ = image_shape
    if min(height, width) < smallest:
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
