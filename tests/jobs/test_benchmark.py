"""The job that measures what a step costs."""

import json
import os
import subprocess

import pytest

from tfpoison import failures, launch
from tfpoison.cli.flags import CommandLine
from tfpoison.cli.jobs import make_job
from tfpoison.fitting import measure_step
from tfpoison.jobs import benchmark


def test_a_small_benchmark(tmp_path, capsys):
    line = "--job=benchmark --network=mlp --width=8 --batch_size=8 --benchmark_steps=3"
    line += " --benchmark_attacks=noise_normal --benchmark_image_shape=8,8,1"
    assert launch.main([*line.split(), f"--output_dir={tmp_path / 'out'}"]) == 0
    rows = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    row = rows["noise_normal"]
    assert 0 < row["plain_seconds"] < 1
    assert 0 < row["defended_seconds"] < row["first_call_seconds"]
    assert 0.1 < row["peak_gigabytes"] < 4
    table = (tmp_path / "out" / "benchmark.md").read_text()
    assert table.splitlines()[-1].startswith("| `noise_normal` |")
    assert table.splitlines()[-1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("returned", "code", "told"),
    [
        (measure_step.OUT_OF_MEMORY, failures.SYSTEM_ERROR, "memory. Received: OOM when"),
        (-9, failures.SYSTEM_ERROR, "fit into memory. Received: "),
        (1, failures.UNFORESEEN, "The full trace is in"),
    ],
)
def test_a_measurement_that_fails(returned, code, told, tmp_path, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], returned, "", "Traceback\n  here\nOOM when allocating")
    monkeypatch.setattr(benchmark, "_run_child", lambda command: failed)
    line = ["--job=benchmark", "--benchmark_attacks=evasion", "--verbosity=-1"]
    assert launch.main([*line, f"--output_dir={tmp_path}"]) == code
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    # Nothing was computed: the directory takes the mended command.
    job = make_job(CommandLine([*line, f"--output_dir={tmp_path}", "--batch_size=2"]))
    job.check()


def test_a_child_ends_with_its_parent(monkeypatch):
    """The parent holds the other end of its standard input, and writes nothing."""
    assert benchmark._run_child(["timeout", "0.1", "cat"]).returncode == 124
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    measure_step._end_with_parent()  # Standard input is empty in tests.
    assert ended == [1]
