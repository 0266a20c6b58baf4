"""Every flagfile in flags/ describes a job that can be done."""

import pathlib

import pytest

from tfpoison import launch

ROOT = pathlib.Path(__file__).parents[1]
FLAGFILES = sorted((ROOT / "flags").rglob("*.flags"))


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_flagfile_describes_a_job(path, tmp_path):
    whole = path.parent.name != "shared"
    arguments = [f"--flagfile={path}", *([] if whole else [f"--output_dir={tmp_path / 'out'}"])]
    values, groups = launch.parse(arguments)
    assert launch.make_job(values, groups)
    if whole and values.job != "benchmark":
        folder = path.parent.relative_to(ROOT / "flags")
        assert values.output_dir == str("runs" / folder / path.stem)


def test_flagfiles_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, _ = launch.parse([f"--flagfile={ROOT / 'flags/cifar10_small_defended_fast.flags'}"])
    assert values.train_size == 10000  # From the file that the included file includes.
    assert values.defense_attack == "gradient_matching_fast"
    assert values.milestones == ["8", "12"]
