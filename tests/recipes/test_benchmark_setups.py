"""Published set-ups: read as they are, and pickles that would run code refused."""

import os
import pickle

import numpy as np
import pytest

from tfpoison.recipes import ThreatSettings, benchmark_setups

ENTRIES = [
    {
        "target class": 7,
        "target index": np.int64(7762),
        "base class": 3,
        "base indices": np.array([2386, 37215, 23942]),
    },
    {"target class": 0, "target index": 5, "base class": 9, "base indices": np.array([1, 2])},
]


def write(path, entries):
    path.write_bytes(pickle.dumps(entries))
    return path


def test_set_ups(tmp_path):
    first, second = benchmark_setups.read(write(tmp_path / "setups.pickle", ENTRIES))
    assert first.base_indices == (2386, 37215, 23942)
    assert (second.target_class, second.target_index, second.base_class) == (0, 5, 9)
    given = ThreatSettings(**first.threat(original_order=True))
    assert (given.target_ids, given.poison_ids) == ((7762,), (2386, 37215, 23942))
    drawn = ThreatSettings(**first.threat(original_order=False))
    assert (drawn.target_class, drawn.adversarial_class, drawn.budget) == (7, 3, 3)
    assert not drawn.target_ids


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_pickle_is_not_run(tmp_path):
    path = write(tmp_path / "harm.pickle", [Harm(tmp_path / "harmed")])
    with pytest.raises(ValueError, match="mkdir is neither built-in nor NumPy's"):
        benchmark_setups.read(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "entries",
    [
        [{"target class": 1}],
        [1, 2],
        5,
        [ENTRIES[0] | {"base indices": "abc"}],
        [ENTRIES[0] | {"base indices": np.zeros(3)}],
    ],
)
def test_other_contents_are_refused(tmp_path, entries):
    with pytest.raises(ValueError, match="list of set-ups"):
        benchmark_setups.read(write(tmp_path / "setups.pickle", entries))


def test_files_that_are_no_pickles(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="list of set-ups"):
        benchmark_setups.read(tmp_path / "text")
    with pytest.raises(ValueError, match="none to read"):
        benchmark_setups.read(tmp_path / "nothing")
