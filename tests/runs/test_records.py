"""Records: written whole, read after crashes, kept on a full disk."""

import errno
import gzip
import json
import math
import os

import pytest
from victims_of_trials import record

from tfpoison.report.estimates import summarise
from tfpoison.runs.records import FILE, Records, find_records, read_records
from tfpoison.runs.run_directory import RunDirectory


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
        with pytest.raises(OSError, match=f"No space left.*{FILE}"):
            records.append(record(1))
    assert (tmp_path / FILE).read_bytes() == before
    records.append(record(1))
    assert len(records.read()) == 2


def test_what_is_no_whole_record_is_passed_over(tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    whole = json.dumps(record())
    # Cut within "é", and cut so that what is left is a number, or a record without its trial.
    torn = b'{"recipe": "caf\xc3'
    half = {name: value for name, value in record(1).items() if name != "success"}
    lines = [whole, "3", '{"recipe": "a"}', json.dumps(half), "[" * 10**5]
    path.write_bytes("\n".join([*lines, ""]).encode() + torn)
    for _ in range(2):
        assert read_records(path) == [record()]
    told = capsys.readouterr().err
    assert told.count("no whole record, as a crash leaves it, in line(s) 2, 3, 4, 5, 6.") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"success": 2.5}, "`success` to be.*at most 1. Received: success=2.5"),
        ({"success": -0.5}, "`success` to be.*at least 0"),
        ({"success": "high"}, "`success` to be a number"),
        ({"success": math.nan}, "`success`"),
        ({"success": None}, "`success`"),
        ({"success": True}, "`success`"),
        ({"clean_accuracy": 99.5}, "`clean_accuracy`.*at most 1"),
        ({"removed_share": [0]}, "`removed_share`"),
        ({"trial": "0"}, "`trial` to be an integer"),
        ({"trial": [0]}, "`trial`"),
        ({"victim": -1}, "`victim`.*at least 0"),
        ({"defense": 3}, "`defense` to be a str"),
        ({"recipe": "\ud800"}, "`recipe` to be a text"),
        ({"adversarial_class": ["dog"]}, "`adversarial_class` to be a str"),
        ({"target_ids": 3}, "`target_ids` to be a list"),
        ({"target_ids": [{}]}, "`target_ids`"),
        ({"seconds": 3}, "`seconds` to be a dict"),
        ({"seconds": {"training": "long"}}, "`seconds, training`"),
        ({"seconds": {"training": -1}}, "`seconds, training`"),
        ({"seconds": {"training": 10**400}}, "`seconds, training`"),
        ({"confidence_by_epoch": "0.1"}, "`confidence_by_epoch` to be a list"),
        ({"confidence_by_epoch": [0.1, 7]}, "`confidence_by_epoch`.*at most 1"),
        ({"trial": 0}, "line 1 is about the same victim"),
    ],
)
def test_records_that_were_edited_are_refused(tmp_path, changes, message):
    path = tmp_path / "records.jsonl"
    path.write_text(f"{json.dumps(record())}\n\n{json.dumps(record(**{'trial': 1} | changes))}\n")
    with pytest.raises(ValueError, match=f"line 3 of .*records.jsonl.*{message}.*Mend or remove"):
        read_records(path)


def test_records_that_an_editor_has_saved(tmp_path, capsys):
    path = tmp_path / "records.jsonl"
    lines = [json.dumps(each) + "\r\n" for each in (record(), record(1))]
    path.write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    assert read_records(path) == [record(), record(1)]
    assert not capsys.readouterr().err


def test_records_may_lack_what_is_not_known(tmp_path):
    records = [
        record(clean_accuracy=None, success_without_poisons=math.nan, confidence_by_epoch=[None]),
        record(1, seconds=None),
    ]
    lacking = {name: value for name, value in record(2).items() if name != "clean_accuracy"}
    (tmp_path / "records.jsonl").write_text("\n".join(map(json.dumps, [*records, lacking])))
    assert len(summarise(read_records(tmp_path / "records.jsonl"))) == 1


def test_packed_records_are_read_and_not_gone_on_with(records, tmp_path):
    line = json.dumps(record()) + "\n"
    packed = tmp_path / f"{FILE}.gz"
    packed.write_bytes(gzip.compress(line.encode()))
    assert find_records(tmp_path) == packed
    assert read_records(packed) == [record()]
    with pytest.raises(ValueError, match=r"Received: .*gz\. Unpack it by gunzip"):
        records.read()
    for content in (packed.read_bytes()[:-12], b"packed"):
        packed.write_bytes(content)
        with pytest.raises(ValueError, match="Received a damaged file"):
            read_records(packed)


def test_every_line_says_its_version(records, tmp_path):
    records.append(record())
    (line,) = (tmp_path / FILE).read_text().splitlines()
    assert json.loads(line) == {"schema_version": 1} | record()
    # Lines of before there were versions are of the first one.
    (tmp_path / FILE).write_text(f"{line}\n{json.dumps(record(1))}\n")
    assert records.read() == [record(), record(1)]


@pytest.mark.parametrize("line", [{"schema_version": 2} | record(1), {"schema_version": 2}])
def test_records_of_a_newer_version_are_refused(records, tmp_path, line):
    (tmp_path / FILE).write_text(f"{json.dumps(record())}\n{json.dumps(line)}\n")
    with pytest.raises(ValueError, match=r"version 1 of the schema.*version 2 in line 2"):
        records.read()
