"""Records: written whole, read after crashes, kept on a full disk."""

import errno
import os

import pytest
from victims_of_trials import record

from tfpoison.jobs.records import FILE, Records
from tfpoison.jobs.run_directory import RunDirectory


@pytest.fixture
def records(tmp_path):
    return Records(RunDirectory(tmp_path, {}))


def test_records_come_back_in_order(records):
    assert records.read() == []
    for number in range(3):
        records.append(record(number))
    assert records.read() == [record(number) for number in range(3)]


def test_a_torn_line_is_passed_over(records, tmp_path):
    records.append(record(0))
    with open(tmp_path / FILE, "a") as file:
        file.write('{"trial": 1, "succ')
    assert records.read() == [record(0)]
    records.append(record(2))
    assert records.read() == [record(0), record(2)]


def test_a_full_disk_loses_nothing(records, tmp_path, monkeypatch):
    records.append(record(0))
    before = (tmp_path / FILE).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            records.append(record(1))
    assert (tmp_path / FILE).read_bytes() == before
    records.append(record(1))
    assert len(records.read()) == 2
