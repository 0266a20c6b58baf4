"""Looks through a training set for what was done to it: suspects, and what to keep."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from tfpoison import files
from tfpoison.auditing import known_poisons
from tfpoison.auditing import page as audit_page
from tfpoison.auditing.audit import KEEP, PAGE, REPORT, SHEET, TABLE, Audit, Split
from tfpoison.auditing.auditor import Auditor
from tfpoison.data import Selection
from tfpoison.defenses import Defense
from tfpoison.fitting import optimization
from tfpoison.recipes import Poisons
from tfpoison.runs.run_directory import RunDirectory

_FILES = {
    PAGE: "all of this, and the most suspicious images",
    TABLE: "every image looked at, most suspicious first, with the score of each filter",
    KEEP: "the images to keep, for --keep_list or tfpoison.KeepList.load(FILE).apply(dataset)",
    SHEET: "the most suspicious images of each class",
    REPORT: "these figures",
}


@dataclasses.dataclass(frozen=True)
class AuditJob:
    """Has filters inspect a training set, by what networks trained on it say, or by its images.

    Of a data set without a validation split nothing is held out: an audit validates nothing. Images
    that are not looked at, as `train_size` or the poisons' own training set have it, stay on the
    keep-list: it leaves out suspects alone.

    Attributes:
        auditor: what inspects, with the data set in its settings, and the output directory.
        poisons: a file of poisons to put into the training set; None for the data as they are.
        known_poisons: a CSV file that says which images are poisons, with a column `id` (positions
            in the training split) or `file` (CLASS/FILE in an image folder), all of them in the
            split, to measure the filters by; None where nobody knows, or `poisons` says it.
    """

    auditor: Auditor
    poisons: str | None = None
    known_poisons: str | None = None

    def check(self) -> None:
        """Raises ValueError or TypeError where `run` would, before any image is read."""
        self.auditor.check()
        if self.poisons is not None and self.known_poisons is not None:
            raise ValueError(
                "Expected either poisons to put into the data, or a list of those that are in it. "
                f"Received both: {self.poisons}, {self.known_poisons}"
            )
        optimization.check(self.auditor.training, Defense())
        self._directory.check()
        if self.poisons is not None:
            Poisons.load(self.poisons)
        if self.known_poisons is not None:
            known_poisons.read(self.known_poisons)
        description = self._selection.check()
        self.auditor.network.check(description.image_shape, description.classes)
        self.auditor.check(description.train_size)

    def run(self) -> str:
        """Inspects, and returns a report for people to read."""
        self.check()
        with self._directory.occupied():
            report = self._read_report()
            if report is None or report["settings"] != self._settings:
                audit = self._audit()
                audit.save(self._directory.path)
                report = audit.report()
            contents = "\n".join(f"  {name:<18} {what}" for name, what in _FILES.items())
            told = audit_page.describe(report)
            return f"{told}\nWritten to {self._directory.path}:\n{contents}"

    def _read_report(self) -> dict[str, Any] | None:
        path = self._directory.path / REPORT
        if not path.exists():
            return None
        with files.read_back(path, "Remove it: the filters inspect again."):
            report = files.read_json(path)
            report["settings"]
            # What it lacks is told of here, whatever comes of the report.
            audit_page.describe(report)
            return report

    @property
    def _directory(self) -> RunDirectory:
        assert self.auditor.directory is not None
        return self.auditor.directory

    @property
    def _settings(self) -> dict[str, Any]:
        """What may change from run to run, as JSON holds it."""
        known = self.known_poisons
        return {
            "filters": {name: repr(each) for name, each in self.auditor.by_name.items()},
            "agreement": self.auditor.agreement,
            "known_poisons": known and hashlib.sha256(files.read_bytes(known)).hexdigest(),
        }

    @functools.cached_property
    def _selection(self) -> Selection:
        # Poisons go with the training set that they were made for, without what is held out.
        whole = self.poisons is None
        return dataclasses.replace(self.auditor.data, whole_split=whole, keep_list=None)

    def _audit(self) -> Audit:
        images, whole = self._selection.load(), self._selection.source.train
        train, file_names, labels = images.train, whole.file_names(), whole.labels()
        is_poison = None
        if self.poisons is not None:
            poisons = Poisons.load(self.poisons)
            poisons.check_classes(images.classes)
            train = poisons.poison(train)
            # Poisons may have changed labels.
            labels[train.ids] = train.labels
            is_poison = np.isin(np.arange(len(labels)), poisons.ids)
        elif self.known_poisons is not None:
            is_poison = known_poisons.find(self.known_poisons, len(labels), file_names)
        split = Split(images.name, images.class_names, labels, file_names, is_poison)
        return self.auditor.run(train, split, self._settings)
