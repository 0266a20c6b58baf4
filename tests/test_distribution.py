"""Strategies by name, and means over replicas."""

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import distribution
from tfpoison.distribution import (
    Reduction,
    call_on_examples,
    lend_example,
    replica_id,
    serves_every_replica,
)

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


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_who_is_served_is_what_tensorflow_deals_out(replicas, cpus):
    strategy, sizes = cpus(replicas), range(1, 18)
    batches = tf.data.Dataset.range(1, 18).map(tf.range)
    dealt = [
        min(len(each) for each in strategy.experimental_local_results(batch))
        for batch in strategy.experimental_distribute_dataset(batches)
    ]
    assert [least > 0 for least in dealt] == [serves_every_replica(n, replicas) for n in sizes]


def test_an_empty_part_is_lent_the_first_example(cpus):
    images = tf.constant([[7, 8], [9, 10], [11, 12]], tf.uint8)
    labels = tf.constant([1.0, 2.0, 3.0])
    parts = [{"x": images[:2], "y": (labels[:2],)}, {"x": images[2:], "y": (labels[2:],)}]
    parts.append({"x": images[:0], "y": (labels[:0],)})
    result = run(cpus(3), lambda part: tf.nest.flatten(lend_example(part | {"z": None})), parts)
    for part, x, y in zip(parts, *result[:2], strict=True):
        np.testing.assert_array_equal(x, part["x"] if len(part["x"]) else images[:1])
        np.testing.assert_array_equal(y, part["y"][0] if len(part["x"]) else labels[:1])


def test_nothing_is_called_without_an_example(cpus):
    def function(rows):
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(rows["x"])[0])]):
            return 2 * rows["x"]

    inputs = [tf.constant([[3.0], [4.0]]), tf.constant([[5.0]]), tf.zeros([0, 1])]
    (results,) = run(cpus(3), lambda x: [call_on_examples(function, {"x": x})], inputs)
    for rows, result in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(result, 2 * rows)


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
