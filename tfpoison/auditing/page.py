"""An audit as people read it: a page, and lines on a terminal."""

import math
import pathlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpoison.notes import decimal
from tfpoison.report import page, pictures
from tfpoison.report.page import Picture
from tfpoison.report.tables import markdown

if TYPE_CHECKING:
    from tfpoison.auditing.audit import Audit

_IN_THE_TABLE = 50
# Of each class so many images are shown, of all classes no more than that.
_OF_A_CLASS, _IN_ALL = 10, 200


def render(audit: "Audit", directory: pathlib.Path | None) -> str:
    """Returns the page of an audit as HTML, with the flags of a directory."""
    report = audit.report()
    pairs = [[pair, decimal(value, 3)] for pair, value in report["kappa"].items()]
    return page.render(
        "audit.html",
        directory,
        title=f"Audit of {audit.split.name}",
        answers=[_answer(report)],
        remarks=_remarks(report),
        filters=_filter_table(report),
        detection=_detection_table(report),
        kappa=[["filters", "Cohen's κ"], *pairs] if pairs else [],
        images=_most_suspicious(audit),
        most=_table(audit),
    )


def _most_suspicious(audit: "Audit") -> list[Picture]:
    classes = len(np.unique(audit.examples.labels))
    of_each = audit.most_suspicious(max(1, min(_OF_A_CLASS, _IN_ALL // classes)))
    positions = np.concatenate(of_each)[:_IN_ALL]
    shown = []
    for position, image in zip(positions, audit.examples.read(positions), strict=True):
        number, votes = audit.examples.ids[position], audit.agreement[position]
        name, files = audit.class_name(position), audit.split.files
        file = f", {files[number]}" if files else ""
        alt = f"Image {number}{file}, of class {name}: {votes} filters suspect it"
        shown.append(Picture(pictures.jpeg(image), f"{name}: {number} ({votes})", alt))
    return shown


def _table(audit: "Audit") -> list[list[str]]:
    """Returns the cells of a table of the most suspicious images, under its heading."""
    heading = ["image", "class", "suspected by"]
    lines = [heading if audit.is_poison is None else [*heading, "poison"]]
    for each in audit.order[:_IN_THE_TABLE]:
        number, files = audit.examples.ids[each], audit.split.files
        which = [name for name, found in audit.suspicions.items() if found.suspects[each]]
        image = f"{number}: {files[number]}" if files else str(number)
        line = [image, audit.class_name(each), ", ".join(which)]
        poison = [] if audit.is_poison is None else ["yes" if audit.is_poison[each] else "no"]
        lines.append(line + poison)
    return lines


def _filter_table(report: dict[str, Any]) -> list[list[str]]:
    lines = [
        [name, f"{count:,}", f"{count / report['images']:.1%}"]
        for name, count in report["suspects"].items()
    ]
    return [["filter", "suspects", "of all images"], *lines]


def _detection_table(report: dict[str, Any]) -> list[list[str]]:
    names = ("precision", "chance", "recall", "false_positive_rate", "roc_auc")
    # Reports of earlier versions lack the false positives.
    lines = [
        [name, *(decimal(measures.get(each, math.nan), 3) for each in names)]
        for name, measures in report.get("detection", {}).items()
    ]
    heading = ["suspected by", "precision", "chance", "recall", "false positives", "ROC AUC"]
    return [heading, *lines] if lines else []


def _answer(report: dict[str, Any]) -> str:
    removed = report["images"] - report["kept"]
    answer = (
        f"{report['images']:,} images; {removed:,} are suspects of {report['agreement']} or more "
        "filters, and not on the keep-list"
    )
    if "poisons" in report:
        caught = report["poisons"] - report["kept_poisons"]
        answer += f"; {caught} of {report['poisons']} poisons are among them"
    return f"{answer}."


def _remarks(report: dict[str, Any]) -> list[str]:
    """Returns what to say of classes without images, and of images that nobody has looked at."""
    remarks = []
    if names := report["emptied_classes"]:
        remarks.append(
            f"Nothing of {len(names):,} class(es) is left on the keep-list, such as {names[0]}: no "
            "job takes it. Raise the agreement, or choose other filters."
        )
    if report["unaudited"]:
        text = (
            f"No filter has looked at {report['unaudited']:,} other images of the training split; "
            "they are all on the keep-list"
        )
        if poisons := report.get("unaudited_poisons"):
            text += f", with {poisons:,} known poisons, which no figure here counts"
        remarks.append(f"{text}.")
    return remarks


def describe(report: dict[str, Any]) -> str:
    """Returns the figures of an audit as a terminal shows them."""
    tables = filter(None, [_filter_table(report), _detection_table(report)])
    return "\n".join([_answer(report), *_remarks(report), "", *map(markdown, tables)])
