"""What is known of a threat before it is drawn. Nothing heavy is imported."""

import collections
import dataclasses
import math
from typing import TYPE_CHECKING, Self

import numpy as np

from tfpoison.recipes.recipe_settings import SELECTIONS
from tfpoison.recipes.threat import positions_of
from tfpoison.settings import Settings, setting

if TYPE_CHECKING:
    from tfpoison.data import Description, Examples

THREAT_MODELS = ("single_class", "third_party", "random_images")
_LARGEST_ID = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class ThreatSettings(Settings):
    """What is known of a threat before it is drawn; what is given is not drawn.

    Attributes:
        poisons_are_sources: whether the poisons are images of the targets' class, whose labels
            change, whatever the threat model.
        covers: how many images for each poison carry what poisons carry under their own labels.
    """

    threat_model: str = setting(
        "single_class",
        "Whose images are poisoned: the adversarial class's, those of a third class, or any.",
        choices=THREAT_MODELS,
    )
    budget: float = setting(
        0.01, "Poisons: a share of the training set below 1, or a number.", above=0
    )
    selection: str = setting(
        "random", "Which of these images.", choices=SELECTIONS, flag="poison_selection"
    )
    targets: int = setting(1, "Target images, all of one class.", minimum=1)
    target_class: int | None = setting(None, "Of targets, or of a trigger's sources; unset: drawn.")
    adversarial_class: int | None = setting(None, "What targets are to be called; unset: drawn.")
    target_ids: tuple[int, ...] = setting(
        (),
        "Ids in the validation split, of one class; unset: drawn.",
        minimum=0,
        maximum=_LARGEST_ID,
    )
    poison_ids: tuple[int, ...] = setting(
        (), "Ids in the training split; unset: drawn.", minimum=0, maximum=_LARGEST_ID
    )
    all_to_one: bool | None = setting(
        None, "A trigger's sources are all other classes, not one; unset: as the recipe has it."
    )
    poisons_are_sources: bool = False
    covers: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.all_to_one and (self.target_class is not None or self.target_ids):
            raise ValueError(
                "Expected no class of targets, and no targets, where they are all images of other "
                f"classes. Received: all_to_one={self.all_to_one}, "
                f"target_class={self.target_class}, target_ids={self.target_ids}"
            )
        if self.budget >= 1 and self.budget != int(self.budget):
            raise ValueError(
                "Expected `budget` to be a share of the training set below 1 or a whole number of "
                f"images. Received: budget={self.budget}"
            )
        if self.adversarial_class is not None and self.adversarial_class == self.target_class:
            raise ValueError(
                "Expected the adversarial class to be another than the target's. Received: "
                f"{self.adversarial_class} for both"
            )
        for name in ("target_ids", "poison_ids"):
            ids = getattr(self, name)
            twice = [each for each, count in collections.Counter(ids).items() if count > 1]
            if twice:
                raise ValueError(
                    f"Expected every id in `{name}` once. Received more than once: "
                    f"{', '.join(map(str, twice[:5]))}"
                )

    def count_poisons(self, train_size: int) -> int:
        """Returns the number of poisons for a training set of that size."""
        if self.poison_ids:
            return len(self.poison_ids)
        count = self.budget if self.budget >= 1 else math.floor(self.budget * train_size + 1e-6)
        return max(int(count), 1)

    def count_covers(self, poisons: int) -> int:
        """Returns the number of covers beside so many poisons."""
        return round(self.covers * poisons)

    def check_description(self, data: "Description") -> None:
        """Raises ValueError where what is known of data before reading them allows no threat."""
        self._check_classes(data.classes)
        for name, ids in (("target_ids", data.validation_ids), ("poison_ids", data.train_ids)):
            self._check_known(name, [each for each in getattr(self, name) if each >= ids])
        for name, wanted, split, size in (
            ("budget", self.count_poisons(data.train_size), "training", data.train_size),
            ("targets", self.targets, "held-out", data.validation_size),
        ):
            if wanted > size:
                raise ValueError(
                    f"Expected `{name}` to be at most {size}, the number of {split} images. "
                    f"Received: {wanted}"
                )

    def check(self, train: "Examples", validation: "Examples", classes: int) -> None:
        """Raises ValueError where not every threat of this kind can be drawn from these data."""
        self._check_classes(classes)
        for name, split in (("target_ids", validation), ("poison_ids", train)):
            ids = np.array(getattr(self, name), np.int64)
            self._check_known(name, np.setdiff1d(ids, split.ids).tolist())
        completed = self.complete(train, validation)
        _check_outside(self.target_ids, train, validation)
        count = self.count_poisons(train.size)
        room = completed._room(np.bincount(train.labels, minlength=classes))
        if not self.poison_ids and count > room:
            raise ValueError(
                f"Expected a budget of at most {room} poisons, as many images as there are to "
                f"poison under the threat model {self.threat_model!r}, whatever classes are drawn. "
                f"Received: {count}. Lower `budget`, or choose the classes."
            )
        if count + self.count_covers(count) > train.size:
            raise ValueError(
                f"Expected a budget whose poisons and covers are at most {train.size} images. "
                f"Received: {count} poisons with {self.covers:g} covers each. Lower `budget`."
            )

    def _check_classes(self, classes: int) -> None:
        for name in ("target_class", "adversarial_class"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < classes:
                raise ValueError(
                    f"Expected `{name}` to be a class, from 0 to {classes - 1}. Received: {value}"
                )
        needed = 3 if self.threat_model == "third_party" else 2
        if classes < needed:
            raise ValueError(
                f"Expected {needed} classes or more under the threat model {self.threat_model!r}. "
                f"Received: {classes}"
            )

    def _check_known(self, name: str, unknown: list[int]) -> None:
        if unknown:
            raise ValueError(
                f"Expected `{name}` to be ids of the data. Received unknown ones: "
                f"{', '.join(map(str, unknown[:5]))}."
            )

    def complete(self, train: "Examples", validation: "Examples") -> Self:
        """Returns the settings with the classes that the ids given tell.

        Raises:
            ValueError: the ids are of several classes, or of another than the one given.
        """
        target = _class_of("target_ids", self.target_ids, self.target_class, validation)
        adversarial = self.adversarial_class
        if self.poisons_are_sources and self.all_to_one:
            _check_others(self.poison_ids, adversarial, train)
        elif self.poisons_are_sources:
            target = _class_of("poison_ids", self.poison_ids, target, train)
        elif self.threat_model == "single_class":
            adversarial = _class_of("poison_ids", self.poison_ids, adversarial, train)
        return dataclasses.replace(self, target_class=target, adversarial_class=adversarial)

    def _room(self, sizes: np.ndarray) -> int:
        """Returns how many images there are to poison, whatever other classes are drawn.

        Args:
            sizes: the number of training images of each class, (classes,).
        """
        if self.threat_model == "random_images" and not self.poisons_are_sources:
            return int(sizes.sum())
        if self.poisons_are_sources and self.all_to_one:
            given = self.adversarial_class
            return int(sizes.sum() - (sizes.min() if given is None else sizes[given]))
        # The class that is poisoned, and those that it must not be.
        poisoned, others = self.adversarial_class, [] if self.all_to_one else [self.target_class]
        if self.poisons_are_sources:
            # The source class is drawn first, from all but an adversarial class that is given.
            given = self.adversarial_class
            poisoned, others = self.target_class, [] if given is None else [given]
        elif self.threat_model == "third_party":
            poisoned, others = None, [*others, self.adversarial_class]
        if poisoned is not None:
            return int(sizes[poisoned])
        known = [each for each in others if each is not None]
        # Those that are still to be drawn may be the largest ones.
        return int(np.sort(np.delete(sizes, known))[-1 - (len(others) - len(known))])


def _class_of(
    name: str, ids: tuple[int, ...], expected: int | None, examples: "Examples"
) -> int | None:
    """Returns the class of images, which must be the one expected; without images that one."""
    if not ids:
        return expected
    found = np.unique(examples.labels[positions_of(examples, np.array(ids, np.int64))])
    if len(found) > 1 or expected not in (None, int(found[0])):
        wanted = "one class" if expected is None else f"the class {expected}"
        raise ValueError(
            f"Expected `{name}` to name images of {wanted}. Received images of the classes "
            f"{', '.join(map(str, found))}. (Ids that were published count the original order of a "
            "data set; TFDS may have another.)"
        )
    return int(found[0])


def _check_others(ids: tuple[int, ...], adversarial: int | None, train: "Examples") -> None:
    labels = train.labels[positions_of(train, np.array(ids, np.int64))]
    if (labels == adversarial).any():
        raise ValueError(
            "Expected `poison_ids` to name images of other classes than the adversarial one. "
            f"Received images of the class {adversarial}"
        )


def _check_outside(ids: tuple[int, ...], train: "Examples", validation: "Examples") -> None:
    if not ids or not in_memory(train, validation):
        return
    images = validation.read(positions_of(validation, np.array(ids, np.int64)))
    inside = np.array(ids)[in_training_set(images, train)]
    if inside.size:
        raise ValueError(
            "Expected targets outside the training set. Received images that are in it too: "
            f"{', '.join(map(str, inside[:5]))}"
        )


def in_memory(*examples: "Examples") -> bool:
    """Returns whether images are compared: on disk it would take a pass over all of them."""
    return all(each.in_memory for each in examples)


def in_training_set(images: np.ndarray, train: "Examples") -> np.ndarray:
    """Returns which images are in the training set, bool (n,)."""
    known = {image.tobytes() for image in train.images}
    return np.array([image.tobytes() in known for image in images], bool)
