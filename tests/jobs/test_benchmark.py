"""The job that measures what a step costs."""

import json

from tfpoison import launch


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
