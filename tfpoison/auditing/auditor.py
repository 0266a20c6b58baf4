"""An audit from start to end: train the networks that filters ask for, have them inspect."""

import dataclasses
import functools
import itertools
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfpoison import defenses
from tfpoison.auditing.audit import Audit, Split
from tfpoison.checks import check_number
from tfpoison.data import Examples, ImageClassification, as_examples
from tfpoison.defenses import Defense
from tfpoison.defenses.filters import Evidence, Filter, Suspicion, names
from tfpoison.defenses.filters.table import IN_AUDITS
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import Trainer, network_maker, set_up_keras
from tfpoison.progress import Progress
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory

_FILE = "suspicions.npz"
_SCORES, _SUSPECTS = "scores of ", "suspects of "


def audit(
    images: np.ndarray | Examples,
    labels: np.ndarray | None = None,
    *,
    class_names: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
    is_poison: np.ndarray | None = None,
    filters: Sequence[str | Filter] = IN_AUDITS,
    agreement: int = 2,
    network: str = "convnet_small",
    training: TrainingSettings | None = None,
    batch_size: int = 64,
    verbose: bool = True,
) -> Audit:
    """Has filters look for what was done to a training set, by networks that are trained on it.

    ```python
    audit = tfpoison.audit(images, labels)
    audit.save("audit")  # A page, a table, a contact sheet, the keep-list.
    images, labels = images[audit.keep_list.ids], labels[audit.keep_list.ids]
    ```

    Args:
        images: (n, height, width, channels), uint8 in 0–255 or floats in [0, 1]; or examples, as
            `tfpoison.data.load(…).train`, which bring their labels.
        labels: integers from 0, (n,), or one-hot, (n, classes).
        class_names: the names of the classes; None for their numbers.
        files: what the images' files are called, for table and keep-list.
        is_poison: which are known to be poisons, bool (n,), to measure the filters by.
        filters: names or expressions, as "deep_knn(neighbors=50)", or filters. With
            "linear_discriminants" alone no network is trained.
        agreement: how many of them must suspect an image for the keep-list to leave it out.
        network: a name of `tfpoison.networks`.
        training: how the network is trained: None for 15 epochs of Adam. The same seed makes the
            same audit.
        batch_size: images of a step.
        verbose: whether progress is told.

    Raises:
        TypeError, ValueError: an argument is something else than is said here.
    """
    examples = as_examples(images, labels)
    split = Split(
        "images",
        class_names or [str(each) for each in range(examples.labels.max(initial=0) + 1)],
        examples.labels,
        files,
        None if is_poison is None else np.asarray(is_poison, bool),
    )
    auditor = Auditor(
        DataSettings(batch_size=batch_size),
        NetworkSettings(network=network),
        training or TrainingSettings(epochs=15, optimizer="adam", learning_rate=0.002),
        tuple(filters),
        agreement,
        verbose=verbose,
    )
    return auditor.run(examples, split)


@dataclasses.dataclass(frozen=True)
class Auditor:
    """Has filters inspect training sets, by what networks trained on them say.

    Attributes:
        filters: the filters, or expressions that describe them.
        agreement: how many of them must suspect an image for the keep-list to leave it out.
        directory: where an interrupted audit goes on; None for nowhere.
    """

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    filters: tuple[str | Filter, ...]
    agreement: int
    directory: RunDirectory | None = None
    checkpoint_seconds: float = 300
    verbose: bool = True

    @functools.cached_property
    def by_name(self) -> dict[str, Filter]:
        """The filters, each by what it goes by; ValueError where an expression describes none."""
        return {str(each): _filter(each) for each in self.filters}

    def check(self, examples: int | None = None) -> None:
        """Raises ValueError or TypeError where `run` would, for so many examples if it is known."""
        if not self.filters:
            raise ValueError("Expected filters to audit with. Received none.")
        if len(set(self.by_name.values())) < len(self.filters):
            raise ValueError(
                f"Expected filters that differ. Received one twice: {', '.join(self.by_name)}"
            )
        check_number("agreement", self.agreement, minimum=1, maximum=len(self.filters), whole=True)
        if examples is not None:
            for each in self.by_name.values():
                each.check(examples)

    def run(
        self, examples: Examples, split: Split, settings: dict[str, Any] | None = None
    ) -> Audit:
        """Has the filters look at the examples that have not yet, and remembers what they say.

        Args:
            examples: those that are looked at, of the split.
            settings: what the audit's report says of how it was made.
        """
        self.check(examples.size)
        with tempfile.TemporaryDirectory() as scratch:
            directory = self.directory or RunDirectory(pathlib.Path(scratch), {})
            suspicions = _read_suspicions(directory, examples.size)
            left = [each for each in self.by_name.values() if repr(each) not in suspicions]
            asked = list(dict.fromkeys(each.evidence for each in left))
            epochs = sum(each.networks * each.epochs(self.training.epochs) for each in asked)
            total = epochs + len(left)
            progress = Progress("epochs and filters", total, verbose=self.verbose and bool(left))
            evidence = self._gather(asked, examples, split, directory, progress) if left else {}
            for done, each in enumerate(left, epochs + 1):
                suspicions[repr(each)] = each.inspect(
                    evidence[each.evidence], examples.labels, self.training.seed
                )
                _write_suspicions(directory, suspicions)
                progress.show(done)
        known = {name: suspicions[repr(each)] for name, each in self.by_name.items()}
        return Audit(known, examples, split, self.agreement, settings or {})

    def _gather(
        self,
        asked: Sequence[Evidence],
        examples: Examples,
        split: Split,
        directory: RunDirectory,
        progress: Progress,
    ) -> dict[Evidence, np.ndarray]:
        """Returns what networks that are trained on the examples say of them."""
        images = ImageClassification(split.name, tuple(split.class_names), examples, examples)
        self.network.check(images.image_shape, images.classes)
        set_up_keras(self.training)
        make_network = network_maker(self.network, images)
        trainer = Trainer(make_network, images.classes, self.data, self.training)
        done = itertools.count(1)
        told = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: progress.show(next(done)))

        def checkpoint(name: str) -> Checkpoint:
            # A new one each time: two filters may ask the same network for different things.
            folder = directory if name == "plain" else directory.folder(name)
            return Checkpoint(folder, seconds=self.checkpoint_seconds)

        return {
            each: trainer.ask(each, examples, self.training.seed, checkpoint, callbacks=[told])
            for each in asked
        }


def _filter(which: str | Filter) -> Filter:
    if isinstance(which, Filter):
        return which
    defense = defenses.from_text(which)
    if len(defense.filters) != 1 or defense != Defense(defense.filters):
        raise ValueError(
            f"Expected `filters` to be filters, of {', '.join(names())}. Received: {which}"
        )
    return defense.filters[0]


def _write_suspicions(directory: RunDirectory, suspicions: dict[str, Suspicion]) -> None:
    arrays = {_SCORES + name: each.scores for name, each in suspicions.items()}
    arrays |= {_SUSPECTS + name: each.suspects for name, each in suspicions.items()}
    directory.write_arrays(_FILE, arrays)


def _read_suspicions(directory: RunDirectory, size: int) -> dict[str, Suspicion]:
    """Returns what filters have made of so many images in earlier runs."""
    with directory.arrays(_FILE, "Remove it: the filters inspect again.") as arrays:
        if arrays is None:
            return {}
        if any(len(each) != size for each in arrays.values()):
            raise ValueError(f"it is not of {size} images")
        found = [name.removeprefix(_SCORES) for name in arrays if name.startswith(_SCORES)]
        return {name: Suspicion(arrays[_SCORES + name], arrays[_SUSPECTS + name]) for name in found}
