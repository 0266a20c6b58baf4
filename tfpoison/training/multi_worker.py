"""Two bridges that let Keras 3's `fit` run under MultiWorkerMirroredStrategy.

Keras issue 20585 (open): with several workers `fit` fails where it builds the model from a
distributed batch, and where it reduces the logs of a step. Both are mended here; remove this file
when Keras has closed the issue.
"""

from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as keras_trainer

from tfpoison.distribution import spans_workers

_keras_reduce_per_replica = keras_trainer.reduce_per_replica


def bridge_log_reduction() -> None:
    """Makes Keras average the logs of a step over the replicas of this worker.

    Keras asks for the mean over axis 0 of the logs, which are scalars and have no such axis.
    """
    keras_trainer.reduce_per_replica = _reduce_per_replica


def _reduce_per_replica(values: Any, strategy: tf.distribute.Strategy, reduction: str) -> Any:
    if reduction in ("auto", "mean") and spans_workers(strategy):
        return keras.tree.map_structure(
            lambda value: tf.reduce_mean(strategy.experimental_local_results(value), axis=0),
            values,
        )
    return _keras_reduce_per_replica(values, strategy, reduction)


def first_local_batch(iterator: Any, strategy: tf.distribute.Strategy) -> Any:
    """Returns a batch of this worker's first replica, to build a model from.

    Keras reduces the distributed batch to its mean over the replicas, which fails across workers,
    and on one machine where the batch does not divide evenly.
    """
    for _, _, batches in iterator:
        return keras.tree.map_structure(
            lambda value: strategy.experimental_local_results(value)[0], next(batches)
        )
    raise ValueError("Expected data with at least one batch. Received none.")
