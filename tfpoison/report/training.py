"""What a training comes to, as a page: its figures, curves and images."""

import math
import pathlib
from typing import Any

from tfpoison import csv_files
from tfpoison.notes import decimal
from tfpoison.report import figures, page, pictures
from tfpoison.report.estimates import title
from tfpoison.report.page import Picture
from tfpoison.runs.checkpoint import METRICS
from tfpoison.runs.run_directory import RunDirectory

REPORT = "report.json"
PAGE = "report.html"
PREVIEW = "preview.png"
# Panels of curves by epoch: the columns of the metrics in each, by what they are called.
_CURVES = {
    "accuracy": {"accuracy": "on training batches", "val_accuracy": "on clean validation images"},
    "loss": {"loss": "on training batches", "val_loss": "on clean validation images"},
    "objective of the attack": {
        "objective_before": "before crafting",
        "objective_after": "after crafting",
    },
}


def write_page(directory: RunDirectory, report: dict[str, Any]) -> pathlib.Path:
    """Writes a page of a training into its directory, from its figures, and returns its path."""
    preview = directory.path / PREVIEW
    previews = (
        [Picture(preview.read_bytes(), pictures.read_caption(preview))] if preview.exists() else []
    )
    text = page.render(
        "training.html",
        directory.path,
        title=f"Training {directory.path.resolve().name}",
        answers=[_answer(report)],
        figures=[
            ["figure", "value"],
            *([name.replace("_", " "), _text(value)] for name, value in report.items()),
        ],
        curves=_curves(directory.path / METRICS),
        previews=previews,
    )
    return directory.write_text(PAGE, text)


def _answer(report: dict[str, Any]) -> str:
    defended = "undefended"
    if report["defense"] != "none":
        defended = f"defended by {title(report['defense'])}"
    answer = (
        f"After {report['epochs']} epochs, {defended}, {report['network']} is right on "
        f"{report['clean_accuracy']:.1%} of {report['validation_examples']:,} clean images"
    )
    if "poisons" in report:
        answer += (
            f"; with {report['poisons']} poisons among its training images it calls "
            f"{report['poison_success']:.0%} of {report['targets']} target(s) of class "
            f"{report['target_class']} {report['adversarial_class']}"
        )
    return f"{answer}."


def _text(value: Any) -> str:
    if isinstance(value, float):
        return decimal(value, 4)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _curves(path: pathlib.Path) -> list[Picture]:
    heading, *lines = csv_files.read(path, "metrics of a training")
    columns = {
        name: [float(line[place] or math.nan) for line in lines]
        for place, name in enumerate(heading)
    }
    drawn = []
    for name, parts in _CURVES.items():
        known = {label: columns[part] for part, label in parts.items() if part in columns}
        if known:
            alt = f"{name.capitalize()}, epoch by epoch"
            drawn.append(Picture(figures.svg(figures.draw_curves(known, name)), "", alt))
    return drawn
