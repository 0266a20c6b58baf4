"""Strategies by name, and how the replicas of a strategy put their numbers together."""

import tensorflow as tf

from tfpoison.checks import check_name

_STRATEGIES = {
    "default": tf.distribute.get_strategy,
    "one_device": lambda: tf.distribute.OneDeviceStrategy(
        "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
    ),
    "mirrored": tf.distribute.MirroredStrategy,
    "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
}

MATCHING = ("global", "replica")


def names() -> list[str]:
    """Returns the names of the strategies."""
    return list(_STRATEGIES)


def get(strategy: str | tf.distribute.Strategy) -> tf.distribute.Strategy:
    """Returns a strategy by its name; a strategy object is handed back as it is.

    Args:
        strategy: `"default"` (no distribution), `"one_device"` (the first GPU, or the CPU),
            `"mirrored"` (all GPUs of this machine), `"multi_worker"` (all workers that `TF_CONFIG`
            names; to be made before any other TensorFlow operation runs), or a strategy.

    Raises:
        ValueError: the name is unknown.
    """
    if isinstance(strategy, tf.distribute.Strategy):
        return strategy
    check_name("strategy", strategy, names())
    return _STRATEGIES[strategy]()


def replica_id() -> tf.Tensor | int:
    """Returns the number of the replica that this code runs for."""
    context = tf.distribute.get_replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


class Reduction:
    """Means and sums over the examples of all replicas, or of this one alone.

    With `"global"` matching N replicas craft what one device would craft on the whole batch: each
    mean over examples is weighted by the number of examples that each replica holds. What is drawn
    at random (where perturbations start, patches) is drawn by each replica for itself, and is not
    what one device would draw. With `"replica"` matching each replica crafts on its own part of the
    batch.

    The results are differentiable. A gradient taken through them on every replica adds up the
    gradients of the N equal copies of the result: divide it by `replicas`.

    Args:
        matching: `"global"` or `"replica"`.

    Raises:
        ValueError: another matching.
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
        """Returns the mean of per-replica means, each weighted by its number of examples.

        Args:
            tensors: means over the `count` examples of this replica.
            count: the number of examples of this replica, possibly 0.
        """
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
