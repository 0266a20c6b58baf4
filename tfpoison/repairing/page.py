"""A scan, and a repair, as people read it: a page."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpoison.notes import decimal
from tfpoison.report import page, pictures
from tfpoison.report.page import Picture

if TYPE_CHECKING:
    from tfpoison.repairing.scanning import Scan


def render(
    directory: pathlib.Path,
    answers: Sequence[str],
    scan: "Scan",
    after: "Scan | None" = None,
) -> str:
    """Returns a page as HTML.

    Args:
        directory: whose flags it shows, where it has some.
        answers: sentences that come first.
        scan: the scan of the network as it was given.
        after: the scan of the repaired network; None where nothing was repaired.
    """
    scans = [scan] if after is None else [scan, after]
    return page.render(
        "scan.html",
        directory,
        title="Scan" if after is None else "Repair",
        answers=answers,
        classes=table(scans),
        triggers=_pictures(scan),
        triggers_after=[] if after is None else _pictures(after),
    )


def table(scans: Sequence["Scan"]) -> list[list[str]]:
    """Returns the cells of a table of classes, under its heading: one scan, or before and after."""
    heading = ["pixels", "of the median", "anomaly index", "images turned"]
    times = [""] if len(scans) == 1 else ["before: ", "after: "]
    lines = [["class", *(time + each for time in times for each in heading)]]
    for number, name in enumerate(scans[0].class_names):
        line = [name]
        for scan in scans:
            figures = scan.sizes[number], scan.ratios[number], scan.indices[number]
            line += [decimal(each, 2) for each in figures]
            line.append(f"{scan.triggers[number].success:.0%}")
        lines.append(line)
    return lines


def _pictures(scan: "Scan") -> list[Picture]:
    """Returns the triggers on grey, most suspicious first."""
    shown = []
    for each in np.argsort(-scan.indices, kind="stable"):
        image = scan.triggers[each].put_on(np.float32(0.5))
        if image.shape[-1] not in (1, 3):
            image = image.mean(axis=-1, keepdims=True)
        name = scan.class_names[each]
        caption = f"{name}: {scan.sizes[each]:.3g} pixels ({scan.indices[each]:.1f})"
        alt = f"The inverted trigger of class {name}, of anomaly index {scan.indices[each]:.1f}"
        shown.append(Picture(pictures.jpeg(image), caption, alt))
    return shown
