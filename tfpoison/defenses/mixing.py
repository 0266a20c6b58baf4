"""Defenses that mix or erase the images of a training batch: mixup, CutMix, cutout, MaxUp.

Strong augmentation of this kind blunts poisons (arXiv 2011.09527, arXiv 2103.02079). The settings
follow the code that arXiv 2102.13624 compares with (JonasGeiping/data-poisoning), which draws one
weight or one box for a whole batch; here each image has draws of its own.

Keras has layers for most of this. They draw from a Beta distribution, which XLA cannot compile, and
Keras compiles training steps with XLA unless told otherwise; its CutMix also weighs labels by the
area of the box before rounding to pixels, not by the pixels that are pasted.
"""

import abc
import dataclasses
import math
from typing import Any, ClassVar, cast

import keras
import tensorflow as tf

from tfpoison.checks import check_name, check_number, make_plain
from tfpoison.classifier import Classifier
from tfpoison.configurable import Configurable
from tfpoison.keras_settings import check_channels_last
from tfpoison.randomness import Purpose, permutation, split_key, uniform_integers

__all__ = ["MIXINGS", "CutMix", "Cutout", "MaxUp", "Mixing", "Mixup", "get", "names", "on_batches"]

Batch = tuple[tf.Tensor, tf.Tensor]

# A proposal for a gamma draw is refused with probability 0.05 at most, all eight with 4e-11.
_PROPOSALS = 8


class Mixing(Configurable, abc.ABC):
    """A random change of the images of a training batch, and of their labels with them.

    Under a strategy each replica mixes its own part of the batch; its key must be its own.

    Attributes:
        needs_one_hot: whether labels must be one-hot, as mixed images have mixed labels.
        needs_classifier: whether the change depends on the network that is trained.
    """

    needs_one_hot: ClassVar[bool] = False
    needs_classifier: ClassVar[bool] = False

    def mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        """Returns the changed images and labels, of the same shapes and dtypes.

        Args:
            classifier: the network that is trained; may be None unless `needs_classifier`.
            images: floating-point images of any pixel range, (n, H, W, C).
            labels: floating-point, one-hot or mixed before, (n, classes); where `needs_one_hot` is
                False also integers, (n,) or (n, 1).
            key: a key of `tfpoison.randomness`, int32 (2,): same key, same draws. (Code that is
                compiled by XLA draws other numbers than code that is not.)

        Raises:
            ValueError: the images or the labels are not as above, or there is no classifier where
                one is needed.
        """
        images, labels = tf.convert_to_tensor(images), tf.convert_to_tensor(labels)
        self.check_classifier(classifier)
        _check_images(images)
        if self.needs_one_hot:
            _check_one_hot(self, labels)
        mixed_images, mixed_labels = self._mix(classifier, images, labels, key)
        return (
            tf.ensure_shape(mixed_images, images.shape),
            tf.ensure_shape(mixed_labels, labels.shape),
        )

    def check_sides(self, sides: tuple[int | None, int | None]) -> None:
        """Raises ValueError where images of that height and width are too small; None: unknown."""

    def check_classifier(self, classifier: Classifier | None) -> None:
        """Raises ValueError where there is no classifier and one is needed."""
        if self.needs_classifier and classifier is None:
            raise ValueError(
                f"Expected a classifier: {self!r} depends on the network that is trained. "
                "Received: None. Use it inside the training step: "
                "tfpoison.RobustModel(network, attack=None, mixing=...)."
            )

    @abc.abstractmethod
    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        """Returns the changed images and labels; the arguments have been checked."""


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class Mixup(Mixing):
    """Mixes each image, and its label, with others of the batch (arXiv 1710.09412).

        w ~ Dirichlet(α, …, α)                 one weight for each of the `ways` images; Beta for 2
        x̃ᵢ = w₁ xᵢ + w₂ x_π₂₍ᵢ₎ + …             π₂, π₃, …: random orders of the batch
        ỹᵢ = w₁ yᵢ + w₂ y_π₂₍ᵢ₎ + …

    As in the code that arXiv 2102.13624 compares with, the orders are independent, so that an image
    may meet itself, with probability 1/n. Unlike there, each image has weights of its own. Mixing
    k ways makes the privacy guarantee of added noise k times stronger (arXiv 2103.02079).

    Args:
        alpha: α, above 0: the smaller, the nearer are the mixtures to one of their images.
        ways: the number of images that are mixed into one, at least 2.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has a value that cannot be.
    """

    alpha: float = 1.0
    ways: int = 2
    needs_one_hot: ClassVar[bool] = True

    def __post_init__(self) -> None:
        make_plain(self)
        check_number("alpha", self.alpha, minimum=0, exclusive_minimum=True)
        check_number("ways", self.ways, minimum=2, maximum=1000, whole=True)

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        count = tf.shape(images)[0]
        keys = split_key(key)
        weights = _dirichlet(next(keys), self.alpha, count, self.ways)
        orders = [tf.range(count), *(permutation(next(keys), count) for _ in range(self.ways - 1))]
        return _combine(images, weights, orders), _combine(labels, weights, orders)


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class CutMix(Mixing):
    """Pastes a box of another image of the batch into an image (arXiv 1905.04899).

        λ ~ Beta(α, α)
        box: sides √(1 - λ) · H and √(1 - λ) · W, around a random pixel, cut off at the border
        x̃ᵢ = x_π₍ᵢ₎ inside the box, xᵢ outside;    ỹᵢ = (1 - s) yᵢ + s y_π₍ᵢ₎

    with s the share of pixels in the box and π a random order of the batch. As in the authors' code
    for CIFAR, and in the one that arXiv 2102.13624 compares with, half of the images are left as
    they are; there it is half of the batches.

    Args:
        alpha: α, above 0.
        probability: the share of images that are changed, above 0 and at most 1. The authors use
            1 for ImageNet.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has a value that cannot be.
    """

    alpha: float = 1.0
    probability: float = 0.5
    needs_one_hot: ClassVar[bool] = True

    def __post_init__(self) -> None:
        make_plain(self)
        check_number("alpha", self.alpha, minimum=0, exclusive_minimum=True)
        check_number("probability", self.probability, minimum=0, maximum=1, exclusive_minimum=True)

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        count, height, width = tf.unstack(tf.shape(images)[:3])
        keys = split_key(key)
        sides = tf.sqrt(_dirichlet(next(keys), self.alpha, count, 2)[:, 1])
        boxes = _boxes(
            next(keys),
            images,
            tf.cast(sides * tf.cast(height, sides.dtype), tf.int32),
            tf.cast(sides * tf.cast(width, sides.dtype), tf.int32),
        )
        chosen = tf.random.stateless_uniform([count], next(keys)) < self.probability
        boxes &= chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
        order = permutation(next(keys), count)
        pasted = tf.reduce_mean(tf.cast(boxes, tf.float32), axis=[1, 2, 3])
        weights = tf.stack([1 - pasted, pasted], axis=1)
        return (
            tf.where(boxes, tf.gather(images, order), images),
            _combine(labels, weights, [tf.range(count), order]),
        )


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class Cutout(Mixing):
    """Erases a square of each image, and leaves the labels (arXiv 1708.04552).

    As in the paper, the square's centre is any pixel, so that part of the square may lie outside
    the image. The paper erases to 0 where 0 is the mean of the data; here normalisation is a layer
    of the network, and the default is the batch's own mean.

    Args:
        size: the square's side in pixels, at least 1 and at most the image's shorter side; None:
            half of that, as the paper's 16 of 32 for CIFAR-10.
        fill_value: what erased pixels become, in the units of the images; None: the mean of each
            channel over the batch (under a strategy, over this replica's part of it).

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has a value that cannot be. In `mix`: the images are smaller than the
            square.
    """

    size: int | None = None
    fill_value: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        _check_cutout(self.size, self.fill_value)

    def check_sides(self, sides: tuple[int | None, int | None]) -> None:
        """Raises ValueError where the square is larger than images of that height and width."""
        if self.size is not None and any(side is not None and side < self.size for side in sides):
            raise ValueError(
                "Expected images at least as large as the square that is cut out. Received: "
                f"size={self.size!r} and images of {sides[0]} × {sides[1]} pixels"
            )

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        self.check_sides((images.shape[1], images.shape[2]))
        sizes = tf.fill(tf.shape(images)[:1], self._size(images))
        return tf.where(_boxes(key, images, sizes, sizes), self._fill(images), images), labels

    def _size(self, images: tf.Tensor) -> tf.Tensor | int:
        if self.size is None:
            return tf.maximum(tf.reduce_min(tf.shape(images)[1:3]) // 2, 1)
        return self.size

    def _fill(self, images: tf.Tensor) -> tf.Tensor:
        if self.fill_value is not None:
            return tf.cast(self.fill_value, images.dtype)
        # Half precision cannot count the pixels of a batch.
        precise = images if images.dtype == tf.float64 else tf.cast(images, tf.float32)
        return tf.cast(tf.reduce_mean(precise, axis=[0, 1, 2]), images.dtype)


@keras.saving.register_keras_serializable("tfpoison")
@dataclasses.dataclass(frozen=True)
class MaxUp(Mixing):
    """Trains on the worst of several random cutouts of each image (arXiv 2002.09024).

        for each image i:
            xᵢ¹, …, xᵢᵐ ← cutouts of xᵢ
            x̃ᵢ ← the xᵢʲ with the largest loss, the first of equals

    The training step on the images so chosen follows the gradient of the paper's maximum, except
    that the choice is made by the network in inference mode (dropout off, moving statistics). There
    is no warm-up. The code that arXiv 2102.13624 compares with warms up for five epochs, and for
    cutouts then takes the mean over the copies, not the maximum. A step costs `copies` forward
    passes more.

    Args:
        copies: m, the number of cutouts of each image, at least 1.
        size: the side of the squares, as for `Cutout`.
        fill_value: what erased pixels become, as for `Cutout`.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has a value that cannot be. In `mix`: the images are smaller than the
            square.
    """

    copies: int = 4
    size: int | None = None
    fill_value: float | None = None
    needs_classifier: ClassVar[bool] = True

    def __post_init__(self) -> None:
        make_plain(self)
        check_number("copies", self.copies, minimum=1, maximum=1000, whole=True)
        _check_cutout(self.size, self.fill_value)

    def check_sides(self, sides: tuple[int | None, int | None]) -> None:
        """Raises ValueError where the squares are larger than images of that height and width."""
        Cutout(self.size).check_sides(sides)

    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        network = cast(Classifier, classifier)
        cutout = Cutout(self.size, self.fill_value)
        keys = split_key(key)
        copies = [cutout.mix(classifier, images, labels, next(keys))[0] for _ in range(self.copies)]
        losses = [network.losses(copy, labels) for copy in copies]
        worst = tf.argmax(tf.stack(losses), axis=0)
        return tf.gather(tf.stack(copies, axis=1), worst, axis=1, batch_dims=1), labels


MIXINGS: dict[str, type[Mixing]] = {
    "mixup": Mixup,
    "cutmix": CutMix,
    "cutout": Cutout,
    "maxup": MaxUp,
}


def names() -> list[str]:
    """Returns the names of the mixings."""
    return list(MIXINGS)


def get(mixing: str | Mixing | None, **settings: Any) -> Mixing | None:
    """Returns the mixing of that name with the settings given; an object or None as it is.

    Args:
        mixing: a name of `names()`, a `Mixing`, or None for none.
        **settings: with a name: the mixing's settings.

    Raises:
        ValueError: the name is unknown, a setting has a value that cannot be, or there are settings
            without a name.
        TypeError: `mixing` is something else, the mixing has no such setting, or a setting has the
            wrong type.
    """
    if isinstance(mixing, str):
        check_name("mixing", mixing, names())
        return MIXINGS[mixing](**settings)
    if mixing is not None and not isinstance(mixing, Mixing):
        raise TypeError(
            "Expected `mixing` to be the name of a mixing, a Mixing or None. "
            f"Received: mixing={mixing!r}"
        )
    if settings:
        raise ValueError(
            f"Expected no settings beside mixing={mixing!r}: they go with a mixing's name. "
            f"Received: {', '.join(sorted(settings))}"
        )
    return mixing


def on_batches(dataset: tf.data.Dataset, mixing: str | Mixing, seed: int = 0) -> tf.data.Dataset:
    """Mixes the batches of a data set, for training without `tfpoison.RobustModel`.

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


def step_key(seed: int, step: tf.Tensor, replica: tf.Tensor | int) -> tf.Tensor:
    """Returns the key of mixing within a training step."""
    return Purpose.MIXING.key(seed, step, replica)


def _combine(tensor: tf.Tensor, weights: tf.Tensor, orders: list[tf.Tensor]) -> tf.Tensor:
    """Returns weighted sums of rows.

    Args:
        tensor: (n, …).
        weights: float32 (n, ways).
        orders: for each way, the row that each of the n sums takes, (n,).
    """
    precise = tf.float64 if tensor.dtype == tf.float64 else tf.float32
    rows = tf.cast(tensor, precise)
    shape = [-1] + [1] * (tensor.shape.rank - 1)
    columns = [tf.reshape(each, shape) for each in tf.unstack(tf.cast(weights, precise), axis=1)]
    parts = [w * tf.gather(rows, order) for w, order in zip(columns, orders, strict=True)]
    return tf.cast(tf.add_n(parts), tensor.dtype)


def _boxes(key: tf.Tensor, images: tf.Tensor, heights: tf.Tensor, widths: tf.Tensor) -> tf.Tensor:
    """Draws a box for each image around a uniformly random pixel, cut off at the border.

    A box of even side reaches one pixel farther up and left of its centre than down and right.

    Args:
        key: a key of `tfpoison.randomness`.
        images: (n, H, W, C).
        heights: the boxes' heights in pixels, int32 (n,).
        widths: their widths.

    Returns:
        Whether a pixel is in the box, bool (n, H, W, 1).
    """
    keys = split_key(key)

    def inside(axis: int, lengths: tf.Tensor) -> tf.Tensor:
        side = tf.shape(images)[axis]
        centres = uniform_integers(next(keys), 0, side - 1, tf.shape(lengths))
        offsets = tf.range(side) - (centres - lengths // 2)[:, tf.newaxis]
        return (offsets >= 0) & (offsets < lengths[:, tf.newaxis])

    rows, columns = inside(1, heights), inside(2, widths)
    return rows[:, :, tf.newaxis, tf.newaxis] & columns[:, tf.newaxis, :, tf.newaxis]


def _dirichlet(key: tf.Tensor, alpha: float, count: tf.Tensor | int, ways: int) -> tf.Tensor:
    """Draws from the symmetric Dirichlet distribution; float32 (count, ways), rows sum to 1.

    Gamma draws divided by their sum, in logarithms: for a small `alpha` all of a row underflow.
    """
    return tf.nn.softmax(_log_gamma(key, alpha, count, ways), axis=1)


def _log_gamma(key: tf.Tensor, alpha: float, count: tf.Tensor | int, ways: int) -> tf.Tensor:
    """Draws logarithms of Gamma(alpha, 1), float32 (count, ways), by operations XLA has.

    Marsaglia and Tsang (2000) for α + 1, and their Gamma(α) = Gamma(α + 1) · uniform^(1 / α):

        d ← α + 1 - ⅓,    v ← (1 + normal / √(9 d))³
        accept d · v if log(uniform) < ½ normal² + d (1 - v + log(v))
    """
    keys = split_key(key)
    d = alpha + 2 / 3
    shape = [count, ways, _PROPOSALS]
    normal = tf.random.stateless_normal(shape, next(keys))
    root = 1 + normal / math.sqrt(9 * d)
    # A root that is not positive is refused; the clip keeps its logarithm finite until then.
    log_v = 3 * tf.math.log(tf.maximum(root, 1e-6))
    limit = 0.5 * tf.square(normal) + d * (1 - tf.exp(log_v) + log_v)
    accepted = (root > 0) & (_log_uniform(next(keys), shape) < limit)
    first = tf.argmax(tf.cast(accepted, tf.int32), axis=-1)
    log_larger = math.log(d) + tf.gather(log_v, first, axis=-1, batch_dims=2)
    return log_larger + _log_uniform(next(keys), [count, ways]) / alpha


def _log_uniform(key: tf.Tensor, shape: list[Any]) -> tf.Tensor:
    """Draws logarithms of numbers uniform above 0 and up to 1."""
    return tf.math.log(1 - tf.random.stateless_uniform(shape, key))


def _check_cutout(size: int | None, fill_value: float | None) -> None:
    if size is not None:
        check_number("size", size, minimum=1, whole=True)
    if fill_value is not None:
        check_number("fill_value", fill_value)


def _check_images(images: tf.Tensor) -> None:
    check_channels_last()
    if images.shape.rank != 4 or not images.dtype.is_floating:
        raise ValueError(
            "Expected floating-point images of shape (n, H, W, C). Received: images of dtype "
            f"{images.dtype.name} and shape {images.shape}"
        )


def _check_one_hot(mixing: Mixing, labels: tf.Tensor) -> None:
    if labels.shape.rank != 2 or labels.shape[-1] == 1 or not labels.dtype.is_floating:
        raise ValueError(
            f"Expected one-hot labels, floating-point of shape (n, classes): {mixing!r} mixes "
            f"labels. Received: labels of dtype {labels.dtype.name} and shape {labels.shape}. "
            "Map them with tf.one_hot and compile with a categorical cross-entropy."
        )
