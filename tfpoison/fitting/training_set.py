"""The training set: on the keep-list, with poisons in it, and as a defense leaves it."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from tfpoison.checks import check_array
from tfpoison.data import Examples, ImageClassification, InMemoryExamples
from tfpoison.defenses import Defense
from tfpoison.defenses.filters.base import Evidence
from tfpoison.defenses.revisions.base import with_stand_ins
from tfpoison.fitting.settings import DataSettings
from tfpoison.recipes import Poisons
from tfpoison.recipes.fingerprints import fingerprint
from tfpoison.runs.checkpoint import FILE
from tfpoison.runs.run_directory import RunDirectory

# With the number of a filter that is not the first.
_SUSPECTS = "without_suspects{}.npz"


def load(settings: DataSettings, poisons: Poisons | None) -> ImageClassification:
    """Returns the images on the keep-list, with the poisons among them.

    Raises:
        ValueError: the poisons are of other data, or of another keep-list.
    """
    if poisons is None:
        return settings.load()
    images = dataclasses.replace(settings, keep_list=None).load()
    poisons.check_classes(images.classes)
    if settings.keep_list is None or poisons.fingerprint == fingerprint(images.train):
        train = settings.kept(poisons.poison(images.train))
    else:  # The poisons were brewed for what is on the list.
        train = poisons.poison(settings.kept(images.train))
    _check_targets(poisons, images.validation)
    return dataclasses.replace(images, train=train)


def _check_targets(poisons: Poisons, validation: Examples) -> None:
    """Raises ValueError where the targets are not among these held-out images."""
    threat = poisons.threat
    known = validation.labels[np.isin(validation.ids, threat.target_ids)]
    if len(known) != len(threat.target_ids) or not threat.is_source(known).all():
        raise ValueError(
            "Expected the held-out images that the poisons' targets are among: give the "
            "--validation_size, --balanced and --subset_seed that they were brewed with. Received: "
            f"{validation.size} images, of which {len(known)} are among the "
            f"{len(threat.target_ids)} target(s)"
        )


class TrainingSet:
    """What a defense has left of the examples by now, and how they look.

    It is remembered in files beside the training's checkpoint.

    Args:
        examples: the examples at the start.
        defense: what removes and revises them.
        directory: that of the checkpoint.
        seed: of filters, revisions and stand-ins.

    Attributes:
        kept: positions among the examples at the start, ascending int64, (kept,).
        images: how all examples look now, dropped ones included, uint8 in 0–255, (size, H, W, C);
            None where they are as they were.
        scores: how suspicious the defense's filter found each example, float64 (size,); of several
            the largest share of the others that one of them found less so. None where there is no
            filter, or an earlier version left what it suspects.

    Raises:
        ValueError: the defense revises examples that are on disk.
    """

    def __init__(self, examples: Examples, defense: Defense, directory: RunDirectory, seed: int):
        if defense.revision is not None and not examples.in_memory:
            raise ValueError(
                "Expected a data set of up to 2 GiB for a defense that revises all images during "
                f"the training. Received: {examples.size} images of {examples.image_shape} and "
                f"{defense.revision}. Give a smaller train_size or image_size."
            )
        self.kept = np.arange(examples.size)
        self.images: np.ndarray | None = None
        self.scores: np.ndarray | None = None
        self._examples = examples
        self._defense = defense
        self._directory = directory
        self._seed = seed
        self._suspects: list[np.ndarray] = []

    @property
    def may_change(self) -> bool:
        """Whether the defense removes or changes examples at all."""
        return self._defense.changes_training_set

    @property
    def current(self) -> Examples:
        """As many examples as there were at the start; see `with_stand_ins`."""
        examples = self._examples
        if self.images is None and len(self.kept) == examples.size:
            return examples
        positions = with_stand_ins(self.kept, examples.size, self._seed)
        if self.images is None:
            return examples.select(positions)
        return InMemoryExamples(
            self.images[positions], examples.labels[positions], examples.ids[positions]
        )

    def remove_suspects(self, gather: Callable[[Evidence], np.ndarray]) -> None:
        """Drops what any of the defense's filters suspects by what `gather` is answered.

        Raises:
            ValueError: everything is suspected, or a filter cannot inspect so few examples.
        """
        for number, each in enumerate(self._defense.filters, 1):
            name, before = _SUSPECTS.format(f"_{number}" if number > 1 else ""), self.kept
            if not self._load(name):
                each.check(self._examples.size)
                labels = self._examples.labels
                suspicion = each.inspect(gather(each.evidence), labels, self._seed)
                self._drop(suspicion.suspects)
                self._remember(suspicion.scores)
                if not len(self.kept):
                    raise ValueError(
                        "Expected the filter to leave examples to train on. Received: all are "
                        f"suspects of {' and '.join(map(str, self._defense.filters[:number]))}"
                    )
                self._save(name)
            self._suspects.append(np.setdiff1d(before, self.kept))

    def _remember(self, scores: np.ndarray) -> None:
        if self.scores is None:
            self.scores = scores
        else:
            self.scores = np.maximum(_ranks(self.scores), _ranks(scores))

    def finish(self, network: keras.Model) -> None:
        """Has the defense's filters do to the trained network what they do in the end."""
        if not self._defense.filters:
            return
        kept = self._examples.select(self.kept)
        for each, suspects in zip(self._defense.filters, self._suspects, strict=True):
            if len(suspects):
                each.finish(network, kept, self._examples.select(suspects), self._seed)

    def revised_after(self, epochs: int, *, before: int) -> list[int]:
        """Returns after how many epochs of a training it is revised, ascending, before an epoch."""
        revision = self._defense.revision
        return [each for each in revision.epochs(epochs) if each < before] if revision else []

    def revise(self, network: keras.Model, epoch: int, *, again: bool) -> None:
        """Has the defense revise what is left after so many epochs, by the network after them.

        Where the training has gone past that already (`again`), the outcome is taken up.

        Raises:
            ValueError: it has, and the revision's outcome is gone.
        """
        name = f"revised_after_{epoch}.npz"
        if self._load(name):
            return
        if again:
            raise ValueError(
                f"Expected {self._directory.path / name}: the training set as a revision left it, "
                "which the checkpoint goes on with. Received none. Put it back, or remove "
                f"{self._directory.path / FILE} to start again."
            )
        assert self._defense.revision is not None
        images = self._examples.images if self.images is None else self.images
        revised = self._defense.revision.revise(
            network, images, self._examples.labels, self._seed + epoch
        )
        self.images = revised.images
        self._drop(~revised.kept)
        self._save(name)

    def _drop(self, dropped: np.ndarray) -> None:
        """Drops the examples that are marked, bool (size,)."""
        self.kept = self.kept[~dropped[self.kept]]

    def _save(self, name: str) -> None:
        known = {"kept": self.kept, "images": self.images, "scores": self.scores}
        arrays = {each: array for each, array in known.items() if array is not None}
        self._directory.write_arrays(name, arrays)

    def _load(self, name: str) -> bool:
        """Takes up what stands in a file, and returns whether there is one."""
        remedy = "Remove it and the checkpoint beside it: the training starts again."
        with self._directory.arrays(name, remedy) as arrays:
            if arrays is None:
                return False
            check_array("kept", arrays["kept"], np.int64, (None,), minimum=0, ascending=True)
            self.kept, self.images = arrays["kept"], arrays.get("images")
            self.scores = arrays.get("scores")
            return True


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Returns the share of all whose scores are less, float64 (n,)."""
    return np.searchsorted(np.sort(scores), scores) / len(scores)
