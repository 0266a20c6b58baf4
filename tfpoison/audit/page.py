"""What an audit comes to: figures, tables, a contact sheet, the keep-list."""

import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from tfpoison import csv_files
from tfpoison.data import ImageClassification, KeepList
from tfpoison.defenses.filters import Suspicion
from tfpoison.defenses.filters.base import members_of_classes
from tfpoison.evaluation import detection
from tfpoison.notes import decimal
from tfpoison.report import page
from tfpoison.report.figures import draw_contact_sheet
from tfpoison.runs.run_directory import CONFIGURATION, RunDirectory

REPORT = "report.json"
_TABLE, _KEEP, _SHEET, _PAGE = "audit.csv", "keep.csv", "contact_sheet.png", "audit.html"
_ON_THE_SHEET, _ON_A_LARGE_SHEET, _MANY_CLASSES = 10, 5, 100
_IN_THE_PAGE = 50

_MEANING = (
    "Each filter looks at the features of a network that was trained on all images, and suspects "
    "some of them; none knows the poisons. Filters suspect clean images as well, often more than "
    "there are poisons: images that several of them agree on deserve a look first."
)
_MEANING_OF_DETECTION = (
    "Precision is the share of poisons among the suspects, recall the share of the poisons that "
    "are suspected. Chance is the precision of suspects drawn at random. ROC AUC is the "
    "probability that a poison has a larger score than a clean image: 0.5 by chance."
)
_MEANING_OF_KAPPA = (
    "Cohen's κ of each pair of filters: 1 where both suspect the same images, 0 where they agree "
    "as often as by chance."
)


@dataclasses.dataclass(frozen=True)
class Audit:
    """What filters make of a training set.

    Attributes:
        suspicions: of each filter, by its name.
    """

    suspicions: dict[str, Suspicion]

    @property
    def agreement(self) -> np.ndarray:
        """How many filters suspect each example, integers (n,)."""
        return np.sum([each.suspects for each in self.suspicions.values()], axis=0)

    @property
    def rank(self) -> np.ndarray:
        """The share of examples with a smaller score, mean over the filters, (n,)."""
        return np.mean([_share_below(each.scores) for each in self.suspicions.values()], axis=0)

    def order(self) -> np.ndarray:
        """Returns the examples' positions, most suspicious first: by agreement, then by rank."""
        return np.lexsort((-self.rank, -self.agreement))

    def kappa(self) -> dict[tuple[str, str], float]:
        """Returns Cohen's κ of each pair of filters; NaN where both suspect all or nothing."""
        return {
            (one, other): float(
                cohen_kappa_score(
                    self.suspicions[one].suspects,
                    self.suspicions[other].suspects,
                    labels=[False, True],
                )
            )
            for one, other in itertools.combinations(self.suspicions, 2)
        }

    def detection(self, is_poison: np.ndarray) -> dict[str, dict[str, float]]:
        """Returns how well each filter finds the poisons, and how well their agreement does."""
        measures = {
            name: detection(each.scores, each.suspects, is_poison)
            for name, each in self.suspicions.items()
        }
        for count in range(2, len(self.suspicions) + 1):
            name = "all of them" if count == len(self.suspicions) else f"at least {count} of them"
            measures[name] = detection(self.agreement, self.agreement >= count, is_poison)
        return measures


def _share_below(scores: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(scores), scores) / len(scores)


@dataclasses.dataclass(frozen=True)
class Split:
    """The whole training split, of which images are looked at: what is known of each by its id.

    Attributes:
        labels: the labels, with poisons in it, (n,).
        files: what the files are called; None where images are not in files of their own.
        is_poison: which are known to be poisons, bool (n,); None where nobody knows.
    """

    labels: np.ndarray
    files: list[str] | None
    is_poison: np.ndarray | None


def write(
    audit: Audit,
    images: ImageClassification,
    split: Split,
    settings: dict[str, Any],
    directory: RunDirectory,
) -> None:
    """Writes all that an audit leaves; the report, which says that it is done, last.

    Args:
        audit: what the filters make of the training images.
        images: the data set.
        split: the whole training split.
        settings: of the audit, as JSON holds them; its "agreement" is how many filters must suspect
            an image for the keep-list to leave it out.
        directory: where the files are written.
    """
    # What it says is done is done no more, once the first of the others is another one.
    (directory.path / REPORT).unlink(missing_ok=True)
    train = images.train
    is_poison = None if split.is_poison is None else split.is_poison[train.ids]
    rows = _rows(audit, images, split.files, is_poison)
    directory.write_text(_TABLE, csv_files.text(rows))
    suspected = audit.agreement >= settings["agreement"]
    # Nobody suspects what nobody has looked at.
    keep = np.setdiff1d(np.arange(len(split.labels)), train.ids[suspected])
    files = None if split.files is None else [split.files[each] for each in keep]
    keep_list = KeepList(keep, split.labels[keep], files, len(split.labels))
    directory.write_text(_KEEP, keep_list.text())
    sheet = page.png(_contact_sheet(audit, images))
    directory.write_bytes(_SHEET, sheet)
    report = _report(audit, images, split, settings, keep_list)
    sections = [
        *_sections(report, images, rows, sheet),
        page.configuration(directory.path / CONFIGURATION),
    ]
    directory.write_text(_PAGE, page.document(f"Audit of {images.name}", sections))
    directory.write_json(REPORT, report)


def _report(
    audit: Audit,
    images: ImageClassification,
    split: Split,
    settings: dict[str, Any],
    keep_list: KeepList,
) -> dict[str, Any]:
    """Returns the figures."""
    ids = images.train.ids
    kept = np.isin(ids, keep_list.ids)
    report: dict[str, Any] = {
        "images": len(ids),
        "kept": int(kept.sum()),
        "unaudited": len(split.labels) - len(ids),
        "emptied_classes": [
            images.class_names[each] for each in np.setdiff1d(split.labels, keep_list.labels)
        ],
        "agreement": settings["agreement"],
        "settings": settings,
        "suspects": {name: int(each.suspects.sum()) for name, each in audit.suspicions.items()},
        "kappa": {" & ".join(pair): round(value, 6) for pair, value in audit.kappa().items()},
    }
    if split.is_poison is not None:
        is_poison = split.is_poison[ids]
        report["poisons"] = int(is_poison.sum())
        report["kept_poisons"] = int(is_poison[kept].sum())
        report["unaudited_poisons"] = int(split.is_poison.sum()) - report["poisons"]
        report["detection"] = {
            name: {measure: round(value, 6) for measure, value in measures.items()}
            for name, measures in audit.detection(is_poison).items()
        }
    return report


def _sections(
    report: dict[str, Any], images: ImageClassification, rows: list[list[str]], sheet: bytes
) -> list[str]:
    """Returns the sections of the page."""
    sections = [
        f"<p>{report['images']:,} images of {images.classes} classes; the keep-list leaves out "
        f"{report['images'] - report['kept']:,} that {report['agreement']} or more filters suspect."
        "</p>\n",
        *map(page.note, _remarks(report)),
        page.note(_MEANING),
        page.section("Filters", page.table(_filter_table(report))),
    ]
    if report["kappa"]:
        kappa = page.note(_MEANING_OF_KAPPA) + page.table(_kappa_table(report))
        sections.append(page.section("Agreement", kappa))
    if "detection" in report:
        found = page.note(_MEANING_OF_DETECTION) + page.table(_detection_table(report))
        sections.append(page.section("Poisons found", found))
    caption = "Under each image its id, and how many filters suspect it."
    return [
        *sections,
        page.section("Most suspicious images of each class", page.picture(sheet, caption)),
        page.section(f"The {_IN_THE_PAGE} most suspicious", page.table(rows[: _IN_THE_PAGE + 1])),
    ]


def _rows(
    audit: Audit,
    images: ImageClassification,
    files: list[str] | None,
    is_poison: np.ndarray | None,
) -> list[list[str]]:
    """Returns the table of all examples, most suspicious first, under its heading."""
    train, agreement = images.train, audit.agreement
    heading = ["id", *(["file"] if files else []), "class", "agreement"]
    for name in audit.suspicions:
        heading += [f"{name} suspects", f"{name} score"]
    rows = [heading + (["poison"] if is_poison is not None else [])]
    for each in audit.order():
        number = int(train.ids[each])
        row = [str(number), *([files[number]] if files else [])]
        row += [images.class_names[train.labels[each]], str(agreement[each])]
        for suspicion in audit.suspicions.values():
            row += [str(int(suspicion.suspects[each])), f"{suspicion.scores[each]:.4g}"]
        rows.append(row + ([str(int(is_poison[each]))] if is_poison is not None else []))
    return rows


def _contact_sheet(audit: Audit, images: ImageClassification) -> Any:
    order, agreement, train = audit.order(), audit.agreement, images.train
    # Within each class the order stays.
    by_class = [order[each] for each in members_of_classes(train.labels[order])]
    most = _ON_THE_SHEET if len(by_class) <= _MANY_CLASSES else _ON_A_LARGE_SHEET
    rows = [each[:most] for each in by_class]
    # From disk all are read in one go.
    pictures = np.split(train.read(np.concatenate(rows)), np.cumsum([*map(len, rows)])[:-1])
    names = [images.class_names[train.labels[row[0]]] for row in rows]
    captions = [[f"{train.ids[each]} ({agreement[each]})" for each in row] for row in rows]
    return draw_contact_sheet(list(zip(names, pictures, captions, strict=True)))


def _filter_table(report: dict[str, Any]) -> list[list[str]]:
    lines = [
        [name, f"{count:,}", f"{count / report['images']:.1%}"]
        for name, count in report["suspects"].items()
    ]
    return [["filter", "suspects", "of all images"], *lines]


def _kappa_table(report: dict[str, Any]) -> list[list[str]]:
    lines = [[pair, decimal(value, 3)] for pair, value in report["kappa"].items()]
    return [["filters", "Cohen's κ"], *lines]


def _detection_table(report: dict[str, Any]) -> list[list[str]]:
    names = ("precision", "chance", "recall", "roc_auc")
    lines = [
        [name, *(decimal(measures[each], 3) for each in names)]
        for name, measures in report["detection"].items()
    ]
    return [["suspected by", "precision", "chance", "recall", "ROC AUC"], *lines]


def _remarks(report: dict[str, Any]) -> list[str]:
    """Returns what to say of classes without images, and of images that nobody has looked at."""
    remarks = []
    if names := report["emptied_classes"]:
        remarks.append(
            f"Nothing of {len(names):,} class(es) is left on the keep-list, such as {names[0]}: no "
            "job takes it. Raise the agreement, or choose other filters."
        )
    if not report["unaudited"]:
        return remarks
    text = (
        f"No filter has looked at {report['unaudited']:,} other images of the training split; they "
        "are all on the keep-list"
    )
    if report.get("unaudited_poisons"):
        text += f", with {report['unaudited_poisons']:,} known poisons, which no figure here counts"
    return [*remarks, f"{text}."]


def describe(report: dict[str, Any], directory: pathlib.Path) -> str:
    """Returns the report as a person reads it."""
    tables = [_filter_table(report)]
    if "detection" in report:
        tables.append(_detection_table(report))
    removed = report["images"] - report["kept"]
    lines = [
        f"{report['images']:,} images; {removed:,} are suspects of {report['agreement']} or more "
        "filters, and not on the keep-list"
    ]
    if "poisons" in report:
        caught = report["poisons"] - report["kept_poisons"]
        lines[0] += f"; {caught} of {report['poisons']} poisons are among them"
    lines += _remarks(report)
    for table in tables:
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines.append("")
        for first, *cells in table:
            cells = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0]), *cells]))
    files = {
        _PAGE: "all of this, and the most suspicious images",
        _TABLE: "every image looked at, most suspicious first, with the score of each filter",
        _KEEP: "the images to keep, for --keep_list or tfpoison.KeepList.load(FILE).apply(dataset)",
        _SHEET: "the most suspicious images of each class",
        REPORT: "these figures",
    }
    lines += ["", f"Written to {directory}:"]
    return "\n".join([*lines, *(f"  {name:<18} {what}" for name, what in files.items())])
