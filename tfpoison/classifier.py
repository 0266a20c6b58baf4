"""What an attack sees of a network: predictions, losses, gradients and features."""

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from tfpoison import purity
from tfpoison.distribution import Reduction
from tfpoison.features import FeatureExtractor, replaced_call, variables_of
from tfpoison.normalization import folded

Weights = Sequence[tf.Tensor]
LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

# What this package's own networks are trained with.
_LOSS_OF_LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
# Half-precision gradients below 6e-8 vanish; those of a mean over a batch often are.
_HALF_PRECISION_LOSS_SCALE = 1024.0


@dataclasses.dataclass(eq=False)
class Classifier:
    """A network in inference mode with the loss that its user trains it with.

    BatchNormalization uses its moving statistics and updates none, dropout is off, and nothing of
    the network changes, nor of the loss. All losses are plain means over examples, without sample
    weights and regularisers.

    Attributes:
        network: a built `keras.Model` with one output, (n, classes) or (n, 1).
        compiled_loss: what was given to `compile`: a name, a function or a `keras.losses.Loss`,
            with its settings (logits or probabilities, label smoothing, …). By default the
            cross-entropy of logits and integers.
        feature_layer: the layer whose output is the features, or its name; None for the input of
            the last Dense layer. It is looked for when features are asked for.
        reduction: how means are taken over the replicas of a strategy.
        target_loss: what the targets lose under their fake labels; None for `compiled_loss`.
        batch_statistics: whether BatchNormalization that trains uses the statistics of the images
            at hand in place of its moving ones.
        loss_scale: what losses are multiplied by before they are differentiated.

    Raises:
        ValueError: the network has several outputs, or there is no or more than one loss. When it
            is asked: other values cannot stand in for the weights, or it has state beyond Keras's.
    """

    network: keras.Model
    compiled_loss: Any = _LOSS_OF_LOGITS
    _: dataclasses.KW_ONLY
    feature_layer: keras.Layer | str | None = None
    reduction: Reduction = dataclasses.field(default_factory=lambda: Reduction("replica"))
    target_loss: Any = None
    batch_statistics: bool = False

    def __post_init__(self) -> None:
        self._loss_of_each = per_example_loss(self.compiled_loss)
        half = computes_in_half_precision(self.network)
        self.loss_scale = _HALF_PRECISION_LOSS_SCALE if half else 1.0

    def on_one_replica(self) -> Self:
        """Returns the same classifier with means over this replica's examples alone."""
        return dataclasses.replace(self, reduction=Reduction("replica"))

    def with_target_loss(self) -> Self:
        """Returns the same classifier with the targets' loss in place of the poisons'."""
        if self.target_loss is None:
            return self
        return dataclasses.replace(self, compiled_loss=self.target_loss, target_loss=None)

    @property
    def weights(self) -> list[tf.Tensor]:
        """The trainable weights, all in single precision, or in double where one of them has it."""
        weights = [tf.convert_to_tensor(each) for each in self.network.trainable_variables]
        double = any(each.dtype == tf.float64 for each in weights)
        return [tf.cast(each, tf.float64 if double else tf.float32) for each in weights]

    def positions(self, layers: str) -> list[int]:
        """Returns where the weights of some layers stand among all; see `features.variables_of`."""
        chosen = {id(each) for each in variables_of(self.network, layers)}
        variables = self.network.trainable_variables
        return [position for position, each in enumerate(variables) if id(each) in chosen]

    def count_outputs(self, images: tf.Tensor | keras.KerasTensor) -> int:
        """Returns the number of the network's outputs; builds a network that is not built yet."""
        if self.network.built and getattr(self.network, "outputs", None):
            return self.network.outputs[0].shape[-1]
        batch = keras.KerasTensor([None, *images.shape[1:]], tf.as_dtype(images.dtype).name)
        outputs = keras.tree.flatten(self.network(batch))
        return outputs[0].shape[-1]

    def predictions(self, images: tf.Tensor, weights: Weights | None = None) -> tf.Tensor:
        """Returns logits or probabilities, (n, outputs), in single precision or better.

        Args:
            images: (n, H, W, C).
            weights: values that stand in for the trainable weights; None for the weights.
        """
        self.check_purity(images, replaces_weights=weights is not None)
        mapping = []
        if weights is not None:
            mapping = list(zip(self.network.trainable_variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return _at_least_single(self._infer(images))

    def losses(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the loss of each image, (n,); ValueError where it is one number for all."""
        losses = self._losses(images, labels)
        if losses.shape.rank == 0:
            raise ValueError(
                "Expected a loss that gives a number for each image, from which the worst ones are "
                f"told. Received: {self.compiled_loss!r}, which gives one number for the batch. "
                "Leave the mean over the batch to Keras."
            )
        return losses

    def loss(
        self, images: tf.Tensor, labels: tf.Tensor, weights: Weights | None = None
    ) -> tf.Tensor:
        """Returns the mean loss over this replica's images; 0 for no image at all."""
        losses = self._losses(images, labels, weights)
        return _mean(tf.broadcast_to(losses, tf.shape(images)[:1]))

    def _losses(
        self, images: tf.Tensor, labels: tf.Tensor, weights: Weights | None = None
    ) -> tf.Tensor:
        predictions = self.predictions(images, weights)
        with keras.StatelessScope():
            return self._loss_of_each(labels, predictions)

    def mean_loss(
        self, images: tf.Tensor, labels: tf.Tensor, weights: Weights | None = None
    ) -> tf.Tensor:
        """Returns the mean loss over the images of all replicas."""
        return self.reduction.mean([self.loss(images, labels, weights)], tf.shape(images)[0])[0]

    def weight_gradients(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        weights: Weights | None = None,
        *,
        layers: str = "all",
    ) -> list[tf.Tensor]:
        """Returns the gradients of the mean loss by the weights, over the images of all replicas.

        They can be differentiated once more, by the images.

        Args:
            images: (n, H, W, C).
            labels: as the loss takes them.
            weights: values that stand in for the trainable weights; None for the weights.
            layers: of which layers; see `features.variables_of`.

        Raises:
            ValueError: all these weights are frozen, or there are no such layers.
        """
        weights = self.weights if weights is None else weights
        sources = [weights[position] for position in self.positions(layers)]
        if not sources:
            raise ValueError(
                "Expected a network with trainable weights: this attack works on the gradients by "
                f"them. Received: {self.network.name!r}, whose weights are all frozen ({layers}). "
                "Set `trainable` on the layers to be trained, or choose an attack on features."
            )
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sources)
            loss = self.loss(images, labels, weights) * self.loss_scale
        gradients = differentiate(tape, loss, sources)
        gradients = [tf.convert_to_tensor(each) / self.loss_scale for each in gradients]
        return self.reduction.mean(gradients, tf.shape(images)[0])

    def features(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the penultimate features of images, (n, features)."""
        extract = FeatureExtractor(self.network, self.feature_layer)
        self.check_purity(images)
        with keras.StatelessScope():
            return _at_least_single(extract(lambda: self._infer(images)))

    def mean_features(self, images: tf.Tensor) -> tf.Tensor:
        """Returns the mean of the features over the images of all replicas, (features,)."""
        mean = _mean(self.features(images))
        return self.reduction.mean([mean], tf.shape(images)[0])[0]

    def check_purity(
        self, images: tf.Tensor | tf.TensorSpec, *, replaces_weights: bool = False
    ) -> None:
        """Raises ValueError where asking the network is no pure function; see `purity.check`."""
        purity.check(self.network, self._infer, images, replaces_weights=replaces_weights)

    def _infer(self, images: tf.Tensor) -> tf.Tensor:
        network = self.network
        mode = {"training": False} if takes_training(network) else {}
        with (_batch_statistics if self.batch_statistics else folded)(network):
            outputs = network(images, **mode)
        single = keras.tree.flatten(outputs)
        if len(single) != 1 or not tf.is_tensor(single[0]) or single[0].shape.rank != 2:
            raise ValueError(
                "Expected a classifier: a network with one output of shape (n, classes). The "
                f"network {network.name!r} returned {outputs!r}"
            )
        return single[0]


def per_example_loss(loss: Any) -> LossFunction:
    """Returns the loss given to `compile` as a function of (labels, predictions) to losses, (n,).

    Where the loss itself gives one number for all examples, so does the function.

    Raises:
        ValueError: no loss, or one for each of several outputs.
    """
    losses = keras.tree.flatten(loss)
    if loss is None or len(losses) != 1:
        raise ValueError(
            "Expected the model to be compiled with one loss, the one of its classes: poisons are "
            f"crafted against it. Received: loss={loss!r}"
        )
    by_shape = isinstance(losses[0], str) and losses[0].lower() in ("crossentropy", "ce")
    function: Any = _crossentropy if by_shape else keras.losses.get(losses[0])
    ignored = getattr(function, "ignore_class", None)
    if ignored is not None:
        raise ValueError(
            "Expected a loss of all classes: an image of a class that the loss ignores can be "
            f"neither poison nor target. Received: ignore_class={ignored}. Leave "
            "these images out of the data, and `ignore_class` out of the loss."
        )
    if type(function).__call__ is keras.losses.Loss.__call__:
        # `call`, unlike `__call__`, neither averages nor casts to Keras's default precision.
        function = function.call

    def loss_of_each(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
        # Keras hands losses all labels as floating-point numbers; classes come through unchanged.
        labels = tf.cast(labels, predictions.dtype)
        if labels.shape.rank == predictions.shape.rank - 1 and predictions.shape[-1] == 1:
            labels = labels[..., tf.newaxis]
        losses = tf.convert_to_tensor(function(labels, predictions))
        return tf.reduce_mean(losses, axis=list(range(1, losses.shape.rank)))

    return loss_of_each


def _crossentropy(labels: tf.Tensor, predictions: tf.Tensor) -> tf.Tensor:
    """The cross-entropy that Keras takes a loss called "crossentropy" for."""
    if predictions.shape[-1] == 1:
        return keras.losses.binary_crossentropy(labels, predictions)
    if labels.shape.rank < predictions.shape.rank or labels.shape[-1] == 1:
        return keras.losses.sparse_categorical_crossentropy(labels, predictions)
    return keras.losses.categorical_crossentropy(labels, predictions)


def takes_training(network: keras.Model) -> bool:
    """Returns whether the network's `call` tells training from inference."""
    parameters = inspect.signature(network.call).parameters.values()
    return any(each.name == "training" or each.kind is each.VAR_KEYWORD for each in parameters)


def differentiate(
    tape: tf.GradientTape, value: tf.Tensor, sources: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Returns the gradients of a value, 0 by what it does not depend on.

    Raises:
        ValueError: an operation of the network lacks a derivative that is needed.
    """
    try:
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(value, list(sources), unconnected_gradients=zero)
    except LookupError as error:
        raise ValueError(
            "Expected a network whose operations have all derivatives that crafting needs, the "
            f"second ones where it matches gradients. Received: {error}. The attack "
            '"gradient_matching_fast" needs first derivatives alone; an operation that has none '
            "belongs into the data pipeline."
        ) from None


def computes_in_half_precision(network: keras.Model) -> bool:
    """Returns whether a layer of the network computes in float16, whose gradients may vanish."""
    return any(each.compute_dtype == "float16" for each in network._flatten_layers())


@contextlib.contextmanager
def _batch_statistics(network: keras.Model) -> Iterator[None]:
    """Lets BatchNormalization, alone of all layers, be called as it is in training."""
    with contextlib.ExitStack() as stack:
        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                call = functools.partial(_call_in_training, layer.call)
                stack.enter_context(replaced_call(layer, call))
        yield


def _call_in_training(call: Callable, inputs: tf.Tensor, **settings: Any) -> tf.Tensor:
    return call(inputs, **settings | {"training": True})


def _mean(rows: tf.Tensor) -> tf.Tensor:
    """Returns the mean of the rows; 0 for none."""
    count = tf.cast(tf.shape(rows)[0], rows.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(rows, axis=0), count)


def _at_least_single(tensor: tf.Tensor) -> tf.Tensor:
    return tf.cast(tensor, tf.float32) if tensor.dtype.size < 4 else tensor
