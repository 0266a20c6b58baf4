"""The batches that jobs train on."""

import numpy as np
import pytest

from tfpoison.data import InMemoryExamples
from tfpoison.fitting.settings import DataSettings
from tfpoison.fitting.stream import Stream


def make_stream(size, batch_size, replicas):
    examples = InMemoryExamples(np.zeros((size, 2, 2, 1), np.uint8), np.arange(size) % 2)
    settings = DataSettings(dataset="digits", batch_size=batch_size)
    return Stream(examples, settings, replicas=replicas)


@pytest.mark.parametrize(
    ("rest", "replicas", "kept"),
    [
        (1, 1, 1),
        (1, 2, 0),
        (3, 2, 3),
        (2, 3, 0),
        (4, 3, 0),
        (5, 3, 5),
        (5, 4, 0),
        (6, 4, 0),
        (7, 4, 7),
    ],
)
def test_a_rest_that_does_not_serve_every_replica_is_dropped(rest, replicas, kept):
    stream = make_stream(12 + rest, 12, replicas)
    sizes = [len(labels) for _, labels in stream.training(0, 0, 1)]
    assert sizes == ([12, kept] if kept else [12])
    assert stream.batches == len(sizes)


@pytest.mark.parametrize(("batch_size", "replicas"), [(1, 2), (4, 3), (6, 4), (16, 5)])
def test_batches_that_never_serve_every_replica_are_refused(batch_size, replicas):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}. A multiple of {replicas}"):
        make_stream(64, batch_size, replicas)
