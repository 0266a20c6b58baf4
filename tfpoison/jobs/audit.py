"""Looks through a training set for what was done to it: suspects, and what to keep."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np

from tfpoison import files
from tfpoison.audit import known_poisons
from tfpoison.audit import page as audit_report
from tfpoison.audit.page import REPORT, Audit, Split
from tfpoison.checks import check_number
from tfpoison.data import ImageClassification, Selection
from tfpoison.defenses import Defense
from tfpoison.defenses.filters import Filter, Suspicion
from tfpoison.evaluation import Predictor
from tfpoison.fitting import optimization
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import Trainer, network_maker, set_up_keras
from tfpoison.recipes import Poisons
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory

_SUSPICIONS = "suspicions.npz"


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
            known_poisons.read(self.known_poisons)
        description = self._selection.check()
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
            return audit_report.describe(report, self.directory.path)

    def _read_report(self) -> dict[str, Any] | None:
        path = self.directory.path / REPORT
        if not path.exists():
            return None
        with files.read_back(path, "Remove it: the filters inspect again."):
            report = files.read_json(path)
            report["settings"]
            # What it lacks is told of here, whatever comes of the report.
            audit_report.describe(report, self.directory.path)
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

    @functools.cached_property
    def _selection(self) -> Selection:
        # Poisons go with the training set that they were made for, without what is held out.
        return dataclasses.replace(self.data, whole_split=self.poisons is None, keep_list=None)

    def _audit(self) -> None:
        images, whole = self._selection.load(), self._selection.source.train
        file_names, labels = whole.file_names(), whole.labels()
        is_poison = None
        if self.poisons is not None:
            poisons = Poisons.load(self.poisons)
            poisons.check_classes(images.classes)
            images = dataclasses.replace(images, train=poisons.poison(images.train))
            is_poison = np.isin(np.arange(len(labels)), poisons.ids)
        elif self.known_poisons is not None:
            is_poison = known_poisons.find(self.known_poisons, len(labels), file_names)
        train = images.train
        # Poisons may have changed labels.
        labels[train.ids] = train.labels
        audit = self._inspect(images)
        split = Split(labels, file_names, is_poison)
        audit_report.write(audit, images, split, self._settings, self.directory)

    def _inspect(self, images: ImageClassification) -> Audit:
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
        set_up_keras(self.training)
        trainer = Trainer(
            network_maker(self.network, images), images.classes, self.data, self.training
        )
        checkpoint = Checkpoint(self.directory, seconds=self.checkpoint_seconds)
        verbosity = 2 if self.verbose else 0
        predictor, _ = trainer.train(
            images.train, self.training.seed, checkpoint, verbose=verbosity
        )
        return predictor


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
