"""Strategies by name, and means over replicas."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import distribution
from tfpoison.distribution import Reduction, replica_id

KINDS = {
    "default": tf.distribute.Strategy,
    "one_device": tf.distribute.OneDeviceStrategy,
    "mirrored": tf.distribute.MirroredStrategy,
    # Made in training/test_distributed_training.py, by two processes.
    "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,
}


@pytest.mark.parametrize("name", ["default", "one_device"])
def test_strategies_by_name(name):
    assert isinstance(distribution.get(name), KINDS[name])


def test_every_name_has_its_kind(two_cpus):
    assert distribution.names() == list(KINDS)
    assert distribution.get(two_cpus) is two_cpus
    with pytest.raises(ValueError, match="mean 'mirrored'"):
        distribution.get("mirorred")
    with pytest.raises(ValueError, match="global, replica"):
        Reduction("local")


def run(strategy, function, *values):
    """Runs a function with one value of each list for every replica; returns their results."""

    def of_replica(context):
        return tuple(value[context.replica_id_in_sync_group] for value in values)

    arguments = strategy.experimental_distribute_values_from_function(
        lambda context: of_replica(context)
    )
    result = tf.function(lambda: strategy.run(lambda parts: function(*parts), (arguments,)))()
    return [strategy.experimental_local_results(each) for each in result]


def test_means_weigh_each_replica_by_its_examples(two_cpus):
    means = [tf.constant([1.0, 2.0]), tf.constant([4.0, 8.0])]
    counts = [tf.constant(3), tf.constant(1)]
    (together,) = run(two_cpus, Reduction("global").mean, [[m] for m in means], counts)
    for each in together:
        np.testing.assert_allclose(each, [1.75, 3.5])  # (3 · 1 + 1 · 4) / 4, …
    (apart,) = run(two_cpus, Reduction("replica").mean, [[m] for m in means], counts)
    np.testing.assert_allclose(apart[1], [4, 8])


def test_an_empty_replica_counts_for_nothing(two_cpus):
    means = [tf.constant([1.0, 2.0]), tf.constant([0.0, 0.0])]
    counts = [tf.constant(3), tf.constant(0)]
    (together,) = run(two_cpus, Reduction("global").mean, [[m] for m in means], counts)
    np.testing.assert_allclose(together[1], [1, 2])


def test_rows_are_gathered_in_the_order_of_replicas(two_cpus):
    rows = [tf.constant([[1.0], [2.0]]), tf.constant([[3.0]])]
    gathered, before = run(two_cpus, Reduction("global").gather, rows)
    for each in gathered:
        np.testing.assert_array_equal(each, [[1], [2], [3]])
    assert [int(each) for each in before] == [0, 2]


def test_without_replicas_nothing_is_reduced():
    reduction = Reduction("global")
    assert reduction.replicas == 1
    assert replica_id() == 0
    values = [tf.constant(2.0)]
    assert reduction.sum(values) == values
    assert reduction.mean(values, tf.constant(7)) == values
