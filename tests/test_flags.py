"""Every flagfile in flags/ describes a job that can be done."""

import pathlib

import pytest

from tfpoison.cli.flags import CommandLine
from tfpoison.cli.jobs import make_job

ROOT = pathlib.Path(__file__).parents[1]
FLAGFILES = sorted((ROOT / "flags").rglob("*.flags"))


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_flagfile_describes_a_job(path, tmp_path):
    whole = path.parent.name != "shared"
    arguments = [f"--flagfile={path}", *([] if whole else [f"--output_dir={tmp_path / 'out'}"])]
    line = CommandLine(arguments)
    assert make_job(line)
    if whole and line["job"] != "benchmark":
        folder = path.parent.relative_to(ROOT / "flags")
        assert line["output_dir"] == str("runs" / folder / path.stem)


def test_flagfiles_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = CommandLine([f"--flagfile={ROOT / 'flags/cifar10_small_defended_fast.flags'}"])
    assert line["train_size"] == 10000  # From the file that the included file includes.
    assert line["defense_attack"] == "gradient_matching_fast"
    assert line["milestones"] == (8, 12)
