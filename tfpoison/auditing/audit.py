"""What filters make of a training set: scores, ranks, what to keep."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from tfpoison import csv_files
from tfpoison.auditing import page
from tfpoison.data import Examples, KeepList
from tfpoison.defenses.filters import Suspicion
from tfpoison.defenses.filters.base import members_of_classes
from tfpoison.evaluation import detection
from tfpoison.report import pictures
from tfpoison.runs.run_directory import RunDirectory

PAGE, TABLE, KEEP = "audit.html", "audit.csv", "keep.csv"
SHEET, REPORT = "contact_sheet.png", "report.json"
_ON_THE_SHEET, _ON_A_LARGE_SHEET, _MANY_CLASSES = 10, 5, 100


@dataclasses.dataclass(frozen=True)
class Split:
    """A whole training split, of which all images are looked at, or some.

    Attributes:
        labels: the labels, with poisons in it, integers (n,).
        files: what the files are called; None where images are not in files of their own.
        is_poison: which are known to be poisons, bool (n,); None where nobody knows.

    Raises:
        ValueError: their numbers do not go together.
    """

    name: str
    class_names: Sequence[str]
    labels: np.ndarray
    files: Sequence[str] | None = None
    is_poison: np.ndarray | None = None

    def __post_init__(self) -> None:
        if (self.labels >= len(self.class_names)).any():
            raise ValueError(
                f"Expected a name for each of {self.labels.max() + 1} classes. Received: "
                f"{len(self.class_names)} class name(s)"
            )
        for name, each in (("files", self.files), ("is_poison", self.is_poison)):
            if each is not None and len(each) != len(self.labels):
                raise ValueError(
                    f"Expected `{name}` to have an entry for each of {len(self.labels)} images. "
                    f"Received: {len(each)}"
                )


@dataclasses.dataclass(frozen=True)
class Audit:
    """What filters make of a training set.

    Attributes:
        suspicions: of each filter, by its name: scores and suspects, (n,) each.
        examples: the n examples that they have looked at.
        split: the split that these are of.
        least_agreement: how many filters must suspect an example to leave it out.
        settings: how the audit was made, as JSON holds it.
    """

    suspicions: dict[str, Suspicion]
    examples: Examples
    split: Split
    least_agreement: int
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def agreement(self) -> np.ndarray:
        """How many filters suspect each example, integers (n,)."""
        return np.sum([each.suspects for each in self.suspicions.values()], axis=0)

    @functools.cached_property
    def rank(self) -> np.ndarray:
        """The share of examples with a smaller score, mean over the filters, (n,)."""
        return np.mean([_share_below(each.scores) for each in self.suspicions.values()], axis=0)

    @property
    def order(self) -> np.ndarray:
        """The examples' positions, most suspicious first: by agreement, then by rank."""
        return np.lexsort((-self.rank, -self.agreement))

    @property
    def suspected(self) -> np.ndarray:
        """Which examples so many filters suspect that they are left out, bool (n,)."""
        return self.agreement >= self.least_agreement

    @property
    def is_poison(self) -> np.ndarray | None:
        """Which examples are known to be poisons, bool (n,); None where nobody knows."""
        known = self.split.is_poison
        return None if known is None else known[self.examples.ids]

    @functools.cached_property
    def keep_list(self) -> KeepList:
        """What is left of the split; nobody suspects what nobody has looked at."""
        labels, files = self.split.labels, self.split.files
        keep = np.setdiff1d(np.arange(len(labels)), self.examples.ids[self.suspected])
        names = None if files is None else [files[each] for each in keep]
        return KeepList(keep, labels[keep], names, len(labels))

    def kappa(self) -> dict[tuple[str, str], float]:
        """Returns Cohen's κ of each pair of filters; NaN where both suspect all or nothing."""
        suspects = {name: each.suspects for name, each in self.suspicions.items()}
        return {
            pair: float(cohen_kappa_score(*map(suspects.get, pair), labels=[False, True]))
            for pair in itertools.combinations(suspects, 2)
        }

    def detection(self) -> dict[str, dict[str, float]]:
        """Returns `evaluation.detection` of each filter, and of agreements, where it is known."""
        is_poison = self.is_poison
        if is_poison is None:
            return {}
        measures = {
            name: detection(each.scores, each.suspects, is_poison)
            for name, each in self.suspicions.items()
        }
        for count in range(2, len(self.suspicions) + 1):
            name = "all of them" if count == len(self.suspicions) else f"at least {count} of them"
            measures[name] = detection(self.agreement, self.agreement >= count, is_poison)
        return measures

    def table(self) -> list[tuple[str, ...]]:
        """Returns the cells of a table of all examples, most suspicious first."""
        order, files, is_poison = self.order, self.split.files, self.is_poison
        ids = self.examples.ids[order]
        columns: dict[str, Iterable[object]] = {"id": ids}
        if files is not None:
            columns["file"] = [files[each] for each in ids]
        columns["class"] = map(self.class_name, order)
        columns["agreement"] = self.agreement[order]
        for name, each in self.suspicions.items():
            columns[f"{name} suspects"] = each.suspects[order].astype(int)
            columns[f"{name} score"] = [f"{score:.4g}" for score in each.scores[order]]
        if is_poison is not None:
            columns["poison"] = is_poison[order].astype(int)
        return list(
            zip(*([name, *map(str, cells)] for name, cells in columns.items()), strict=True)
        )

    def class_name(self, position: int) -> str:
        """Returns the name of an example's class."""
        return self.split.class_names[self.examples.labels[position]]

    def most_suspicious(self, most: int) -> list[np.ndarray]:
        """Returns the positions of so many examples of each class that has any, in order."""
        order = self.order
        # Within each class the order stays.
        classes = members_of_classes(self.examples.labels[order])
        return [order[members[:most]] for members in classes]

    def report(self) -> dict[str, Any]:
        """Returns the figures, as JSON can hold them."""
        kept, split, is_poison = ~self.suspected, self.split, self.is_poison
        emptied = np.setdiff1d(split.labels, self.keep_list.labels)
        report: dict[str, Any] = {
            "images": self.examples.size,
            "kept": int(kept.sum()),
            "unaudited": len(split.labels) - self.examples.size,
            "emptied_classes": [split.class_names[each] for each in emptied],
            "agreement": self.least_agreement,
            "settings": self.settings,
            "suspects": {name: int(each.suspects.sum()) for name, each in self.suspicions.items()},
            "kappa": {" & ".join(pair): round(value, 6) for pair, value in self.kappa().items()},
        }
        if is_poison is not None and split.is_poison is not None:
            report["poisons"] = int(is_poison.sum())
            report["kept_poisons"] = int(is_poison[kept].sum())
            report["unaudited_poisons"] = int(split.is_poison.sum()) - report["poisons"]
            report["detection"] = {
                name: {measure: round(value, 6) for measure, value in measures.items()}
                for name, measures in self.detection().items()
            }
        return report

    def contact_sheet(self) -> bytes:
        """Returns a PNG of the most suspicious images of each class, with id and agreement."""
        many = len(self.split.class_names) > _MANY_CLASSES
        classes = self.most_suspicious(_ON_A_LARGE_SHEET if many else _ON_THE_SHEET)
        # From disk all are read in one go.
        images = iter(self.examples.read(np.concatenate(classes)))
        ids, votes = self.examples.ids, self.agreement
        rows = [
            (
                self.class_name(some[0]),
                np.stack([next(images) for _ in some]),
                [f"{ids[each]} ({votes[each]})" for each in some],
            )
            for some in classes
        ]
        return pictures.png(pictures.draw_rows(rows))

    def page(self, configuration: pathlib.Path | None = None) -> str:
        """Returns a page for people, as one HTML file, with the flags of a directory."""
        return page.render(self, configuration)

    def save(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes table, keep-list, pictures and page into a folder, and returns the page's path.

        The report, which says that all is done, comes last.
        """
        directory = RunDirectory(pathlib.Path(folder), {})
        directory.path.mkdir(parents=True, exist_ok=True)
        # What it says is done is done no more, once the first of the others is another one.
        (directory.path / REPORT).unlink(missing_ok=True)
        directory.write_text(TABLE, csv_files.text(self.table()))
        directory.write_text(KEEP, self.keep_list.text())
        directory.write_bytes(SHEET, self.contact_sheet())
        path = directory.write_text(PAGE, self.page(directory.path))
        directory.write_json(REPORT, self.report())
        return path


def _share_below(scores: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(scores), scores) / len(scores)
