"""The base of the defenses that mix or erase the images of a training batch.

Strong augmentation of this kind blunts poisons (arXiv 2011.09527, arXiv 2103.02079). The settings
follow the code that arXiv 2102.13624 compares with (JonasGeiping/data-poisoning), which draws one
weight or one box for a whole batch; here each image has draws of its own.

Keras has layers for most of this. They draw from a Beta distribution, which XLA cannot compile, and
Keras compiles training steps with XLA unless told otherwise; its CutMix also weighs labels by the
area of the box before rounding to pixels, not by the pixels that are pasted.
"""

import abc
from typing import ClassVar

import tensorflow as tf

from tfpoison.batch import check_images
from tfpoison.classifier import Classifier
from tfpoison.configurable import Configurable

Batch = tuple[tf.Tensor, tf.Tensor]


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
        self._check(images, labels)
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

    def _check(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        check_images(images)
        is_one_hot = labels.shape.rank == 2 and labels.shape[-1] != 1 and labels.dtype.is_floating
        if self.needs_one_hot and not is_one_hot:
            raise ValueError(
                f"Expected one-hot labels, floating-point of shape (n, classes): {self!r} mixes "
                f"labels. Received: labels of dtype {labels.dtype.name} and shape {labels.shape}. "
                "Map them with tf.one_hot and compile with a categorical cross-entropy."
            )

    @abc.abstractmethod
    def _mix(
        self, classifier: Classifier | None, images: tf.Tensor, labels: tf.Tensor, key: tf.Tensor
    ) -> Batch:
        """Returns the changed images and labels; the arguments have been checked."""
