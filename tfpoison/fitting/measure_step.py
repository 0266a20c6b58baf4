"""Measures the training step of one attack in a process of its own.

Run as a program: `python -m tfpoison.fitting.measure_step SETTINGS` prints a JSON object. A fresh
process makes the time of the first call and the peak of memory honest.
"""

import json
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison import RobustModel, attacks, networks, valid_json
from tfpoison.randomness import Purpose

CLASSES = 10
# The exit code where a step does not fit into memory.
OUT_OF_MEMORY = 3


def measure(
    *,
    attack: str,
    poison_fraction: float | None,
    network: dict[str, Any],
    image_shape: list[int],
    batch_size: int,
    steps: int,
    jit_compile: bool | None,
) -> dict[str, float]:
    """Measures plain and defended steps in turn, so that both see the same moods of the machine.

    The arguments are those of `BenchmarkJob`; the network is chosen by arguments of
    `tfpoison.networks.get`, images and labels are random, and two steps warm up.

    Returns:
        Medians of the `plain_seconds` and `defended_seconds` of a step, the median of their
        `ratio`s, `first_call_seconds`, and the process's `peak_gigabytes` before any plain step.
    """
    batch = _random_batch(image_shape, batch_size)

    def make_step(attack: str | None, **settings: Any) -> Callable[[], Any]:
        model = RobustModel(
            networks.get(image_shape=image_shape, classes=CLASSES, seed=0, **network),
            attack if attack is None else attacks.get(attack),
            **settings,
        )
        model.compile(
            keras.optimizers.SGD(0.01, momentum=0.9),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile="auto" if jit_compile is None else jit_compile,
        )
        data = tf.data.Dataset.from_tensors(batch)
        # The first call leaves the traced function behind, which is then called by itself.
        model.fit(data, verbose=0)
        batches = iter(data.repeat())
        return lambda: tf.nest.map_structure(np.asarray, model.train_function(batches))

    first_call, defended = _timed(lambda: make_step(attack, poison_fraction=poison_fraction))
    for _ in range(2):
        defended()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    plain = make_step(None)
    plain()
    pairs = [(_timed(plain)[0], _timed(defended)[0]) for _ in range(steps)]
    return {
        "plain_seconds": statistics.median(plain for plain, _ in pairs),
        "defended_seconds": statistics.median(defended for _, defended in pairs),
        "ratio": statistics.median(defended / plain for plain, defended in pairs),
        "first_call_seconds": first_call,
        "peak_gigabytes": peak,
    }


def _random_batch(image_shape: list[int], batch_size: int) -> tuple[tf.Tensor, tf.Tensor]:
    draw = Purpose.BENCHMARK.generator(0)
    images = draw.uniform(size=(batch_size, *image_shape)).astype(np.float32)
    return tf.constant(images), tf.constant(draw.integers(CLASSES, size=batch_size))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, which closes our standard input."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        print(valid_json.dumps(measure(**json.loads(sys.argv[1]))))
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(OUT_OF_MEMORY)
