"""Measures what a defended training step costs."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from tfpoison import attacks, valid_json
from tfpoison.attacks.crafting import Crafting
from tfpoison.defenses import Defense
from tfpoison.fitting.measure_step import CLASSES, OUT_OF_MEMORY
from tfpoison.fitting.settings import NetworkSettings
from tfpoison.jobs.settings import BenchmarkSettings
from tfpoison.runs.run_directory import RunDirectory

_HEADER = "| attack | plain step | defended step | ratio | peak memory | first call |"


@dataclasses.dataclass(frozen=True)
class BenchmarkJob:
    """Times plain and defended training steps, each attack in a process of its own.

    Attributes:
        poison_fraction: the share of each batch that is crafted; None for each attack's own.
        directory: where `benchmark.md` and `benchmark.json` are written; None for nowhere.
    """

    settings: BenchmarkSettings
    network: NetworkSettings
    poison_fraction: float | None = None
    batch_size: int = 128
    jit_compile: bool | None = None
    directory: RunDirectory | None = None

    def check(self) -> None:
        """Raises ValueError or TypeError where `run` would."""
        if not self._attacks:
            raise ValueError("Expected attacks to measure. Received none.")
        if self.batch_size < 2:
            raise ValueError(f"Expected `batch_size` to be 2 at least. Received: {self.batch_size}")
        self.network.check(self.settings.image_shape, CLASSES)
        for name in self._attacks:
            defense = Defense(crafting=Crafting.of(name, poison_fraction=self.poison_fraction))
            defense.check_sides(self.settings.image_shape[:2])
        if self.directory is not None:
            self.directory.check()

    def run(self, report: Callable[[str], None] = print) -> str:
        """Measures, reporting row by row, and returns what was written where.

        Raises:
            MemoryError: a measurement does not fit into memory.
            RuntimeError: a measurement ended with another error.
        """
        self.check()
        if self.directory is None:
            self._measure(report)
            return ""
        with self.directory.occupied():
            rows = self._measure(report)
            table = self.directory.write_text("benchmark.md", "\n".join(format_table(rows)) + "\n")
            return f"Written: {table}, {self.directory.write_json('benchmark.json', rows)}"

    @property
    def _attacks(self) -> tuple[str, ...]:
        named = self.settings.attacks
        return tuple(attacks.names()) if named == ("all",) else named

    def _measure(self, report: Callable[[str], None]) -> dict[str, dict[str, float]]:
        report(
            f"{self.network.network}, width {self.network.width or 'as published'}, batches of "
            f"{self.batch_size} images of {'×'.join(map(str, self.settings.image_shape))}; medians "
            f"of {self.settings.steps} steps"
        )
        rows: dict[str, dict[str, float]] = {}
        for attack in self._attacks:
            rows[attack] = self._measure_one(attack)
            lines = format_table(rows)
            report("\n".join(lines if len(rows) == 1 else lines[-1:]))
        return rows

    def _measure_one(self, attack: str) -> dict[str, float]:
        arguments = {
            "attack": attack,
            "poison_fraction": self.poison_fraction,
            "network": self.network.choice,
            "image_shape": list(self.settings.image_shape),
            "batch_size": self.batch_size,
            "steps": self.settings.steps,
            "jit_compile": self.jit_compile,
        }
        module = "tfpoison.fitting.measure_step"
        process = _run_child([sys.executable, "-m", module, valid_json.dumps(arguments)])
        if process.returncode in (OUT_OF_MEMORY, -signal.SIGKILL):
            last_line = process.stderr.strip().rpartition("\n")[2]
            raise MemoryError(f"measuring {attack!r}: {last_line}")
        if process.returncode:
            raise RuntimeError(f"Measuring {attack!r} failed:\n{process.stderr}")
        return json.loads(process.stdout.splitlines()[-1])


def _run_child(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a child that ends with us, however we end: it reads what nobody will ever write."""
    reader, writer = os.pipe()
    try:
        return subprocess.run(
            command, stdin=reader, capture_output=True, encoding="utf-8", errors="replace"
        )
    finally:
        os.close(reader)
        os.close(writer)


def format_table(rows: dict[str, dict[str, float]]) -> list[str]:
    """Returns the lines of a Markdown table of measurements."""
    lines = [_HEADER, "|---" * _HEADER.count(" | ") + "|---|"]
    for attack, row in rows.items():
        lines.append(
            f"| `{attack}` | {row['plain_seconds']:.2f} s | {row['defended_seconds']:.2f} s "
            f"| {row['ratio']:.1f} | {row['peak_gigabytes']:.2f} GB "
            f"| {row['first_call_seconds']:.1f} s |"
        )
    return lines
