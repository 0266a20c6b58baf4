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
        [ENTRIES[0] | {"base indices": np.zeros((2, 2), int)}],
        [],
        {},
        "",
        [ENTRIES[0], {}],
        [ENTRIES[0], ENTRIES[1] | {"base indices": np.array([], int)}],
        [ENTRIES[0] | {"base indices": []}],
        [ENTRIES[0] | {"base indices": [1, -2]}],
        [ENTRIES[0] | {"base indices": [True, 2.5]}],
        [ENTRIES[0] | {"target index": "5"}],
        [ENTRIES[0] | {"target class": 3.7}],
        [ENTRIES[0] | {"base class": None}],
        [ENTRIES[0] | {"base class": 10**400}],
        {0: ENTRIES[0]},
    ],
)
def test_other_contents_are_refused(tmp_path, entries):
    with pytest.raises(ValueError, match="list of set-ups"):
        benchmark_setups.read(write(tmp_path / "setups.pickle", entries))


class Big:
    """An array of a terabyte."""

    def __reduce__(self):
        return np._core.multiarray._reconstruct, (np.ndarray, (10**12,), b"b")


def test_pickles_that_would_fill_the_memory(tmp_path):
    doubled = [1]
    for _ in range(32):
        doubled = [doubled, doubled]
    memo = b"\x80\x04]r" + (2**31 - 1).to_bytes(4, "little") + b"."
    for content in (
        pickle.dumps([Big()]),
        pickle.dumps([ENTRIES[0] | {"base indices": doubled}]),
        memo,
        b"(lp2147483647\n.",
        b"cnumpy\nndarray\n((I1000000000000\nttR.",
        b"[" * 10**5,
    ):
        (tmp_path / "setups.pickle").write_bytes(content)
        with pytest.raises(ValueError, match="list of set-ups"):
            benchmark_setups.read(tmp_path / "setups.pickle")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "setups.pickle")
    with pytest.raises(ValueError, match="none to read"):
        benchmark_setups.read(tmp_path / "setups.pickle")


def test_files_that_are_no_pickles(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="list of set-ups"):
        benchmark_setups.read(tmp_path / "text")
    with pytest.raises(ValueError, match="none to read"):
        benchmark_setups.read(tmp_path / "nothing")
