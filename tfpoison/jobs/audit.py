"""Looks through a training set for what was done to it: suspects, and what to keep."""

import dataclasses
import hashlib
import itertools
import math
import pathlib
import re
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from tfpoison import csv_files, data, files
from tfpoison.checks import check_number
from tfpoison.data import ImageClassification, KeepList
from tfpoison.defenses import Defense
from tfpoison.defenses.filter import Filter, Suspicion
from tfpoison.defenses.filter_base import members_of_classes
from tfpoison.evaluation import Predictor, detection
from tfpoison.jobs import optimization, page
from tfpoison.jobs.checkpoint import Checkpoint
from tfpoison.jobs.figures import draw_contact_sheet
from tfpoison.jobs.run_directory import CONFIGURATION, RunDirectory
from tfpoison.jobs.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.jobs.victims import Plan, Trainer
from tfpoison.recipes import Poisons, scenario

REPORT = "report.json"
_SUSPICIONS = "suspicions.npz"
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
class AuditJob:
    """Has filters inspect a training set, by the features of a network trained on it.

    Of a data set without a validation split nothing is held out: an audit validates nothing. Images
    that are not looked at, as `train_size` or the poisons' own training set have it, stay on the
    keep-list: it leaves out suspects alone.

    Attributes:
        data: the images.
        network: the network.
        training: its optimizer, schedule, epochs.
        filters: the filters, each by the name that it goes by.
        agreement: how many of them must suspect an image for the keep-list to leave it out.
        directory: the output directory.
        poisons: a file of poisons to put into the training set; None for the data as they are.
        known_poisons: a CSV file that says which images are poisons, with a column `id` (positions
            in the training split) or `file` (CLASS/FILE in an image folder), all of them in the
            split, to measure the filters by; None where nobody knows, or `poisons` says it.
        checkpoint_seconds: the time between two checkpoints of the training.
        verbose: whether Keras tells what it does.
    """

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    filters: dict[str, Filter]
    agreement: int
    directory: RunDirectory
    poisons: str | None = None
    known_poisons: str | None = None
    checkpoint_seconds: float = 300
    verbose: bool = True

    def check(self) -> None:
        """Raises ValueError or TypeError where `run` would, before any image is read."""
        if not self.filters:
            raise ValueError("Expected filters to audit with. Received none.")
        check_number("agreement", self.agreement, minimum=1, maximum=len(self.filters), whole=True)
        if len(set(self.filters.values())) < len(self.filters):
            raise ValueError(
                f"Expected filters that differ. Received one twice: {', '.join(self.filters)}"
            )
        if self.poisons is not None and self.known_poisons is not None:
            raise ValueError(
                "Expected either poisons to put into the data, or a list of those that are in it. "
                f"Received both: {self.poisons}, {self.known_poisons}"
            )
        optimization.check(self.training, Defense())
        self.directory.check()
        if self.poisons is not None:
            Poisons.load(self.poisons)
        if self.known_poisons is not None:
            _read_known_poisons(self.known_poisons)
        description = data.check(**self._source)
        self.network.check(description.image_shape, description.classes)
        self._check_filters(description.train_size)

    def run(self) -> str:
        """Inspects, and returns a report for people to read.

        Raises:
            ValueError: the settings cannot be, the directory belongs to another run, or the
                poisons are of other data.
            TypeError: a setting has the wrong type.
        """
        self.check()
        with self.directory.occupied():
            report = self._read_report()
            if report is None or report["settings"] != self._settings:
                self._audit()
                report = self._read_report()
            assert report is not None
            return _describe(report, self.directory.path)

    def _read_report(self) -> dict[str, Any] | None:
        path = self.directory.path / REPORT
        if not path.exists():
            return None
        with files.read_back(path, "Remove it: the filters inspect again."):
            report = files.read_json(path)
            report["settings"]
            return report

    @property
    def _settings(self) -> dict[str, Any]:
        """What may change from run to run, as JSON holds it."""
        known = self.known_poisons
        return {
            "filters": {name: repr(each) for name, each in self.filters.items()},
            "agreement": self.agreement,
            "known_poisons": known and hashlib.sha256(files.read_bytes(known)).hexdigest(),
        }

    def _check_filters(self, examples: int) -> None:
        for each in self.filters.values():
            each.check(examples)

    @property
    def _source(self) -> dict[str, Any]:
        # Poisons go with the training set that they were made for, without what is held out.
        return self.data.source | {"whole_split": self.poisons is None}

    def _audit(self) -> None:
        images = data.load(**self._source)
        file_names = data.file_names(self.data.dataset, data_dir=self.data.data_dir)
        labels = data.training_labels(self.data.dataset, data_dir=self.data.data_dir)
        is_poison = None
        if self.poisons is not None:
            poisons = Poisons.load(self.poisons)
            poisons.check_classes(images.classes)
            images = dataclasses.replace(images, train=poisons.poison(images.train))
            is_poison = np.isin(np.arange(len(labels)), poisons.ids)
        elif self.known_poisons is not None:
            is_poison = _find_known_poisons(self.known_poisons, len(labels), file_names)
        train = images.train
        # Poisons may have changed labels.
        labels[train.ids] = train.labels
        audit = self._inspect(images)
        split = _Split(labels, file_names, is_poison)
        _write(audit, images, split, self._settings, self.directory)

    def _inspect(self, images: ImageClassification) -> "Audit":
        """Has the filters look at the images that have not yet, and remembers what they say."""
        train = images.train
        self._check_filters(train.size)
        suspicions = _read_suspicions(self.directory, train.size)
        left = [each for each in self.filters.values() if repr(each) not in suspicions]
        features = self._train(images).features(train) if left else np.zeros(0)
        for each in left:
            suspicions[repr(each)] = each.inspect(features, train.labels, self.training.seed)
            _write_suspicions(self.directory, suspicions)
        return Audit({name: suspicions[repr(each)] for name, each in self.filters.items()})

    def _train(self, images: ImageClassification) -> Predictor:
        mean, std = data.channel_statistics(images.train)
        plan = Plan(
            network=self.network,
            image_shape=images.image_shape,
            classes=images.classes,
            mean=mean,
            std=std,
            data=self.data,
            training=self.training,
            defense=Defense(),
            scenario=scenario.get("from_scratch"),
        )
        checkpoint = Checkpoint(self.directory, seconds=self.checkpoint_seconds)
        verbosity = 2 if self.verbose else 0
        trained = Trainer(plan).train(
            images.train, self.training.seed, checkpoint=checkpoint, verbose=verbosity
        )
        return trained.predictor


def _write_suspicions(directory: RunDirectory, suspicions: dict[str, Suspicion]) -> None:
    arrays = {f"scores of {name}": each.scores for name, each in suspicions.items()}
    arrays |= {f"suspects of {name}": each.suspects for name, each in suspicions.items()}
    directory.write_arrays(_SUSPICIONS, arrays)


def _read_suspicions(directory: RunDirectory, size: int) -> dict[str, Suspicion]:
    """Returns what filters have made of so many images in earlier runs."""
    path = directory.path / _SUSPICIONS
    if not path.exists():
        return {}
    with files.read_back(path, "Remove it: the filters inspect again."):
        arrays = files.read_arrays(path)
        if any(len(each) != size for each in arrays.values()):
            raise ValueError(f"it is not of {size} images")
        start = "scores of "
        names = [each.removeprefix(start) for each in arrays if each.startswith(start)]
        return {
            name: Suspicion(arrays[start + name], arrays[f"suspects of {name}"]) for name in names
        }


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
class _Split:
    """The whole training split, of which images are looked at: what is known of each by its id.

    Attributes:
        labels: the labels, with poisons in it, (n,).
        files: what the files are called; None where images are not in files of their own.
        is_poison: which are known to be poisons, bool (n,); None where nobody knows.
    """

    labels: np.ndarray
    files: list[str] | None
    is_poison: np.ndarray | None


def _read_known_poisons(path: str) -> tuple[str, list[str]]:
    """Returns the name of the column, and what stands in it."""
    lines = csv_files.read(path, "known poisons")
    heading = lines[0] if lines else []
    column = next((name for name in ("file", "id") if name in heading), None)
    if column is None:
        raise ValueError(
            "Expected a CSV file of known poisons with a column `id` or `file`. Received: "
            f"{path}, with {','.join(heading) or 'nothing'}"
        )
    place = heading.index(column)
    cells = [line[place] if place < len(line) else "" for line in lines[1:]]
    strange = [
        each for each in cells if not each or (column == "id" and not re.fullmatch("[0-9]+", each))
    ]
    if strange or not cells:
        raise ValueError(
            f"Expected the {'name of a file' if column == 'file' else 'position of an image'} in "
            f"the column `{column}` of every line. Received: {path}, with "
            f"{repr(strange[0][:80]) if strange else 'no lines'}"
        )
    return column, cells


def _find_known_poisons(path: str, size: int, files: list[str] | None) -> np.ndarray:
    """Returns which examples of the split are poisons, bool (size,)."""
    column, cells = _read_known_poisons(path)
    if column == "file" and files is None:
        raise ValueError(
            "Expected known poisons by `id` for a data set whose images are not in files of their "
            f"own. Received: {path}, with files"
        )
    if column == "file":
        assert files is not None
        own = files
        known = set(files)
        wanted = {_own_name(cell, known) for cell in cells}
    else:
        own = [str(each) for each in range(size)]
        wanted = {cell.lstrip("0") or "0" for cell in cells}
    missing = sorted(wanted.difference(own))
    if missing:
        raise ValueError(
            f"Expected known poisons that are in the training split. Received: {path}; "
            f"{len(missing)} of its {len(wanted)} are not, such as {missing[0][:80]!r}, where the "
            f"split has {own[0]!r}. Take them off the list."
        )
    return np.isin(own, sorted(wanted))


def _own_name(path: str, known: set[str]) -> str:
    """Returns the end of a path by which a file is known: how a list names its root is up to it."""
    parts = path.split("/")
    ends = ("/".join(parts[first:]) for first in range(len(parts)))
    return next((each for each in ends if each in known), path)


def _write(
    audit: Audit,
    images: ImageClassification,
    split: _Split,
    settings: dict[str, Any],
    directory: RunDirectory,
) -> None:
    """Writes all that the audit leaves; the report, which says that it is done, last."""
    agreement = settings["agreement"]
    # What it says is done is done no more, once the first of the others is another one.
    (directory.path / REPORT).unlink(missing_ok=True)
    train = images.train
    suspected = audit.agreement >= agreement
    is_poison = None if split.is_poison is None else split.is_poison[train.ids]
    rows = _rows(audit, images, split.files, is_poison)
    directory.write_text(_TABLE, csv_files.text(rows))
    # Nobody suspects what nobody has looked at.
    keep = np.setdiff1d(np.arange(len(split.labels)), train.ids[suspected])
    files = None if split.files is None else [split.files[each] for each in keep]
    keep_list = KeepList(keep, split.labels[keep], files, len(split.labels))
    directory.write_text(_KEEP, keep_list.text())
    sheet = page.png(_contact_sheet(audit, images))
    directory.write_bytes(_SHEET, sheet)
    report: dict[str, Any] = {
        "images": train.size,
        "kept": int((~suspected).sum()),
        "unaudited": len(split.labels) - train.size,
        "emptied_classes": [
            images.class_names[each] for each in np.setdiff1d(split.labels, split.labels[keep])
        ],
        "agreement": agreement,
        "settings": settings,
        "suspects": {name: int(each.suspects.sum()) for name, each in audit.suspicions.items()},
        "kappa": {" & ".join(pair): _plain(value) for pair, value in audit.kappa().items()},
    }
    if split.is_poison is not None and is_poison is not None:
        report["poisons"] = int(is_poison.sum())
        report["kept_poisons"] = int(is_poison[~suspected].sum())
        report["unaudited_poisons"] = int(split.is_poison.sum()) - report["poisons"]
        report["detection"] = {
            name: {measure: _plain(value) for measure, value in measures.items()}
            for name, measures in audit.detection(is_poison).items()
        }
    sections = [
        f"<p>{train.size:,} images of {images.classes} classes; the keep-list leaves out "
        f"{suspected.sum():,} that {agreement} or more filters suspect.</p>\n",
        *map(page.note, _remarks(report)),
        page.note(_MEANING),
        page.section("Filters", page.table(_filter_table(report))),
        page.section("Agreement", page.note(_MEANING_OF_KAPPA) + page.table(_kappa_table(report)))
        if report["kappa"]
        else "",
        page.section(
            "Poisons found",
            page.note(_MEANING_OF_DETECTION) + page.table(_detection_table(report)),
        )
        if is_poison is not None
        else "",
        page.section(
            "Most suspicious images of each class",
            page.picture(sheet, "Under each image its id, and how many filters suspect it."),
        ),
        page.section(f"The {_IN_THE_PAGE} most suspicious", page.table(rows[: _IN_THE_PAGE + 1])),
        page.configuration(directory.path / CONFIGURATION),
    ]
    directory.write_text(_PAGE, page.document(f"Audit of {images.name}", sections))
    directory.write_json(REPORT, report)


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
    lines = [[pair, _decimal(value)] for pair, value in report["kappa"].items()]
    return [["filters", "Cohen's κ"], *lines]


def _detection_table(report: dict[str, Any]) -> list[list[str]]:
    names = ("precision", "chance", "recall", "roc_auc")
    lines = [
        [name, *(_decimal(measures[each]) for each in names)]
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


def _plain(value: float) -> float | None:
    """Returns a number as JSON can hold it."""
    return None if math.isnan(value) else round(value, 6)


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _describe(report: dict[str, Any], directory: pathlib.Path) -> str:
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
