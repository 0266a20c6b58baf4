"""Files: equal bytes for equal content, and nothing but it or an error comes back."""

import errno
import json
import os
import zipfile

import numpy as np
import pytest

from tfpoison import defenses, files
from tfpoison.data import InMemoryExamples
from tfpoison.fitting.trainer import load_weights
from tfpoison.fitting.training_set import TrainingSet
from tfpoison.runs.checkpoint import FILE, Checkpoint
from tfpoison.runs.run_directory import CONFIGURATION, RunDirectory, read_flags

ARRAYS = {
    "numbers": np.arange(6, dtype=np.int64).reshape(2, 3),
    "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "none": np.zeros((0, 4), np.float32),
    "text": np.array('{"é": 1}'),
}


def write_arrays(path, arrays, **settings):
    return files.write_whole(path, lambda file: files.write_arrays(file, arrays, **settings))


def assert_equal(read, expected):
    assert list(read) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_come_back(tmp_path, compress):
    path = write_arrays(tmp_path / "arrays.npz", ARRAYS, compress=compress)
    assert_equal(files.read_arrays(path), ARRAYS)
    again = write_arrays(tmp_path / "again.npz", ARRAYS, compress=compress)
    assert path.read_bytes() == again.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.npz", "arrays.npz"]


def test_a_full_disk_is_told_with_the_file_and_not_filled_further(tmp_path, monkeypatch):
    path = write_arrays(tmp_path / "arrays.npz", ARRAYS)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*arrays\.npz"):
        write_arrays(path, {})
    assert_equal(files.read_arrays(path), ARRAYS)
    assert os.listdir(tmp_path) == ["arrays.npz"]


@pytest.mark.parametrize("damage", ["a bit flipped", "zeroed", "cut"])
def test_no_damage_goes_unnoticed(tmp_path, damage):
    path = write_arrays(tmp_path / "arrays.npz", {"a": np.arange(5), "b": np.array("{}")})
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        content = bytearray(whole)
        if damage == "a bit flipped":
            content[place] ^= 1 << place % 8
        elif damage == "zeroed":
            content[place:] = bytes(len(whole) - place)
        else:
            del content[place:]
        path.write_bytes(content)
        # Some of an archive says nothing, such as times and rights.
        try:
            assert_equal(files.read_arrays(path), {"a": np.arange(5), "b": np.array("{}")})
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > len(whole) / 3 * 0.4


def write_member(path, name, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)


def header(shape, descr="<i8"):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**12,)), "no plain array: 0 bytes for int64 of"),
        (header((-1,)), "no plain array"),
        (header((2,)) + bytes(15), "no plain array: 15 bytes"),
        (header((2,)) + bytes(17), "no plain array: 17 bytes"),
        (header((1,), "|O") + bytes(8), "no plain array"),
        (b"\x93NUMPY\x03" + header((1,))[7:] + bytes(8), r"unknown version \(3, 0\)"),
        (header((1,), "<U1") + b"\xff" * 4, "'a.npy' in it is no text"),
        (header("(" * 100), "is no archive of plain arrays"),
        (b"", "is no archive of plain arrays"),
    ],
)
def test_hostile_members(tmp_path, content, message):
    path = tmp_path / "arrays.npz"
    write_member(path, "a.npy", content)
    with pytest.raises(ValueError, match=message):
        files.read_arrays(path)


def test_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, pytest.warns(UserWarning):
        for _ in range(2):
            archive.writestr("a.npy", header((1,)) + bytes(8))
    with pytest.raises(ValueError, match="names 1 arrays where 2 should be"):
        files.read_arrays(tmp_path / "a.npz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (files.read_bytes, files.read_json):
        with pytest.raises(OSError, match="pipe is no regular file"):
            read(tmp_path / "pipe")


def test_deep_json():
    with pytest.raises(ValueError, match="nested too deep"):
        files.parse_json("[" * 10**5)
    assert files.parse_json(json.dumps({"a": [1]})) == {"a": [1]}


EXAMPLES = InMemoryExamples(np.zeros((2, 2, 2, 1), np.uint8), np.arange(2))
# What reads its own files, by their names.
READERS = {
    FILE: lambda directory: Checkpoint(directory, seconds=0),
    "without_suspects.npz": lambda directory: TrainingSet(
        EXAMPLES, defenses.get("deep_knn"), directory, 0
    ).remove_suspects(pytest.fail),
    "network.npz": lambda directory: load_weights(directory, "network.npz"),
    CONFIGURATION: lambda directory: read_flags(directory.path / CONFIGURATION),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [b"", bytes(99), b"\x80\xff", b"PK\x03\x04", None])
def test_files_of_ones_own_that_are_damaged(tmp_path, name, content):
    """Empty, zeroed, garbage, an archive that was cut, a directory in its place."""
    if content is None:
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(content)
    if (name, content) == (CONFIGURATION, b"PK\x03\x04"):
        pytest.skip("it is text, of no flags")
    with pytest.raises(ValueError, match=f"{name} as it was written.*(Remove it|Write it anew)"):
        READERS[name](RunDirectory(tmp_path, {}))


@pytest.mark.parametrize("name", [name for name in READERS if name.endswith(".npz")])
def test_files_of_ones_own_that_are_others(tmp_path, name):
    write_arrays(tmp_path / name, {"x": np.arange(3), "position": np.array("[1]")})
    with pytest.raises(ValueError, match=f"{name} as it was written.*Remove it"):
        READERS[name](RunDirectory(tmp_path, {}))


def test_other_errors_are_not_taken_for_damage():
    with pytest.raises(ZeroDivisionError), files.read_back("a", "Remove it."):
        _ = 1 / 0
