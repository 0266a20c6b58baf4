"""The threat: who is the target, what the adversary wants, and which images it changes."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfpoison.checks import check_array, check_number

if TYPE_CHECKING:
    from tfpoison.data import Examples
    from tfpoison.perturbations.trigger import Trigger


@dataclasses.dataclass(frozen=True, eq=False)
class Threat:
    """A threat, drawn or given.

    Attributes:
        key: the trial key, as printed.
        target_ids: the target images' ids in the validation split, (targets,). For triggers: all
            held-out source images.
        target_class: the targets' true class; for triggers the source class, or None for every
            class but the adversarial one ("all to one").
        adversarial_class: what the adversary wants the targets to be called.
        poison_ids: the poisons' ids in the training split, ascending, covers among them.
        trigger: the trigger; None for targeted poisoning.
        source_ids: training images of the source class that triggered poisons are crafted with.
        cover_ids: the poisons that keep their own labels, whatever they carry, so that the trigger
            is no sure sign of a poison; ascending.
    """

    key: str
    target_ids: np.ndarray
    target_class: int | None
    adversarial_class: int
    poison_ids: np.ndarray
    trigger: "Trigger | None" = None
    source_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    cover_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not isinstance(self.key, str):
            raise TypeError(f"Expected `key` to be a text. Received: {self.key!r}")
        check_number("adversarial_class", self.adversarial_class, minimum=0, whole=True)
        if self.target_class is not None:
            check_number("target_class", self.target_class, minimum=0, whole=True)
        if self.target_class == self.adversarial_class:
            raise ValueError(
                "Expected `adversarial_class` to be another than `target_class`. Received: "
                f"{self.target_class} for both"
            )
        for name, ids in (
            ("target_ids", np.sort(self.target_ids)),
            ("poison_ids", self.poison_ids),
            ("source_ids", self.source_ids),
            ("cover_ids", self.cover_ids),
        ):
            check_array(name, ids, np.int64, (None,), minimum=0, ascending=True)
        if not np.isin(self.cover_ids, self.poison_ids).all():
            raise ValueError(
                f"Expected `cover_ids` to be among `poison_ids`. Received: {self.cover_ids}"
            )

    @property
    def is_cover(self) -> np.ndarray:
        """Which poisons are covers, bool (poisons,)."""
        return np.isin(self.poison_ids, self.cover_ids)

    def is_source(self, labels: np.ndarray) -> np.ndarray:
        """Returns which of these true classes targets have, bool of the same shape."""
        if self.target_class is None:
            return labels != self.adversarial_class
        return labels == self.target_class

    def target_name(self, class_names: Sequence[str]) -> str:
        """Returns what the targets' class is called."""
        return "any other class" if self.target_class is None else class_names[self.target_class]

    def target_images(self, validation: "Examples") -> np.ndarray:
        """Returns the targets as the victim will see them, uint8 (targets, H, W, C)."""
        images = validation.read(positions_of(validation, self.target_ids))
        return images if self.trigger is None else self.trigger.put_on(images, self.target_ids)

    def target_labels(self, validation: "Examples") -> np.ndarray:
        """Returns the targets' true classes, (targets,)."""
        return validation.labels[positions_of(validation, self.target_ids)]

    def source_images(self, train: "Examples") -> np.ndarray:
        """Returns the sources with the trigger, uint8 (sources, H, W, C)."""
        assert self.trigger is not None
        images = train.read(positions_of(train, self.source_ids))
        return self.trigger.put_on(images, self.source_ids)


def positions_of(examples: "Examples", ids: np.ndarray) -> np.ndarray:
    """Returns the positions of ids among examples; ValueError where there are no such examples."""
    positions = np.searchsorted(examples.ids, ids)
    found = examples.ids[np.minimum(positions, examples.size - 1)] == ids
    if not found.all():
        raise ValueError(
            "Expected ids of these examples. Received unknown ones: "
            f"{', '.join(map(str, np.asarray(ids)[~found][:5]))}"
        )
    return positions
