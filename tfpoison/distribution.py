"""Strategies by name, and how the replicas of a strategy put their numbers together."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfpoison.checks import check_name
from tfpoison.choices import MATCHING, STRATEGIES

names = STRATEGIES.names


def get(strategy: str | tf.distribute.Strategy) -> tf.distribute.Strategy:
    """Returns a strategy by its name; a strategy object is handed back as it is.

    `"default"` is no distribution, `"one_device"` the first GPU or the CPU, `"mirrored"` all GPUs
    of this machine, `"multi_worker"` all workers that `TF_CONFIG` names, to be made before any
    other TensorFlow operation runs.

    Raises:
        ValueError: the name is unknown.
        TypeError: it is neither a name nor a strategy.
    """
    return STRATEGIES.get(strategy)


def one_device() -> tf.distribute.Strategy:
    """Returns the strategy of the first GPU, or of the CPU where there is none."""
    has_gpu = tf.config.list_logical_devices("GPU")
    return tf.distribute.OneDeviceStrategy("GPU:0" if has_gpu else "CPU:0")


def replica_id() -> tf.Tensor | int:
    """Returns the number of the replica that this code runs for."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def spans_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the strategy has several worker processes."""
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and strategy.extended._in_multi_worker_mode()
    )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one, of those of a strategy, that writes."""
    return not spans_workers(strategy) or strategy.cluster_resolver.task_id in (0, None)


def serves_every_replica(batch_size: int, replicas: int) -> bool:
    """Returns whether TensorFlow gives every replica an example of a batch of this size.

    It deals ceil(batch_size / replicas) examples to one replica after the other until none is left:
    of 5 examples four replicas get 2, 2, 1 and 0.
    """
    return batch_size > (replicas - 1) * -(-batch_size // replicas)


def lend_example(batch: Any) -> Any:
    """Returns this replica's part of a batch; where that is empty, the batch's first example.

    Of no example at all losses, batch normalisation and convolutions make NaN or an error. The
    batch is tensors with an example in each row, nested as may be.
    """
    if not _has_replicas():
        return batch
    leaves = tf.nest.flatten(batch)
    places = [place for place, leaf in enumerate(leaves) if _is_numerical(leaf)]
    # The first replica is served first, and a sum is what all replicas can join in.
    is_first = tf.cast(tf.equal(replica_id(), 0), tf.float32)
    rows = Reduction().sum([is_first * _first_row(leaves[place]) for place in places])
    for place, row in zip(places, rows, strict=True):
        leaves[place] = _add_if_empty(leaves[place], row)
    return tf.nest.pack_sequence_as(batch, leaves)


def call_on_examples(function: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns a function's outputs for this replica's inputs, which may be empty.

    It is never called with no example. Both are tensors with an example in each row, nested.
    """
    if not _has_replicas():
        return function(inputs)

    def fill(leaf: Any) -> Any:
        return _add_if_empty(leaf, tf.zeros_like(_first_row(leaf))) if _is_numerical(leaf) else leaf

    count = tf.shape(tf.nest.flatten(inputs)[0])[0]
    outputs = function(tf.nest.map_structure(fill, inputs))
    return tf.nest.map_structure(lambda output: output[:count], outputs)


def _has_replicas() -> bool:
    """Returns whether this code runs for one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def _is_numerical(leaf: Any) -> bool:
    return isinstance(leaf, tf.Tensor) and leaf.dtype not in (tf.string, tf.resource, tf.variant)


def _first_row(tensor: tf.Tensor) -> tf.Tensor:
    """Returns the first row, (1, ...), as float32; zeros where there is none."""
    return tf.reduce_sum(tf.cast(tensor[:1], tf.float32), axis=0, keepdims=True)


def _add_if_empty(tensor: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    missing = tf.cast(tf.equal(tf.shape(tensor)[0], 0), tf.int32)
    return tf.concat([tensor, tf.cast(row[:missing], tensor.dtype)], axis=0)


class Reduction:
    """Means and sums over the examples of all replicas, or of this one alone.

    With `"global"` matching N replicas craft what one device would craft on the whole batch: each
    mean over examples is weighted by the number of examples that each replica holds. What is drawn
    at random (where perturbations start, patches) is drawn by each replica for itself, and is not
    what one device would draw. With `"replica"` matching each replica crafts on its own part.

    The results are differentiable. A gradient taken through them on every replica adds up the
    gradients of the N equal copies of the result: divide it by `replicas`.
    """

    def __init__(self, matching: str = "global"):
        check_name("matching", matching, MATCHING)
        self.matching = matching

    @property
    def replicas(self) -> int:
        """The number of replicas whose numbers are put together."""
        if self.matching == "replica":
            return 1
        return tf.distribute.get_strategy().num_replicas_in_sync

    def sum(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the sum of each tensor over the replicas."""
        if self.replicas == 1:
            return list(tensors)
        context = tf.distribute.get_replica_context()
        return list(context.all_reduce(tf.distribute.ReduceOp.SUM, list(tensors)))

    def mean(self, tensors: list[tf.Tensor], count: tf.Tensor) -> list[tf.Tensor]:
        """Returns the mean of per-replica means, each weighted by its number of examples, or 0."""
        if self.replicas == 1:
            return list(tensors)
        count = tf.cast(count, tensors[0].dtype)
        *sums, total = self.sum([*(tensor * count for tensor in tensors), count])
        return [tf.math.divide_no_nan(value, total) for value in sums]

    def gather(self, tensor: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the rows of all replicas, and the number of rows that stand before ours."""
        if self.replicas == 1:
            return tensor, tf.constant(0)
        context = tf.distribute.get_replica_context()
        counts = context.all_gather(tf.shape(tensor)[:1], axis=0)
        ours = tf.range(self.replicas) < replica_id()
        return context.all_gather(tensor, axis=0), tf.reduce_sum(tf.where(ours, counts, 0))
