"""The threat: who is the target, what the adversary wants, and which images it may change."""

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tfpoison.checks import check_array, check_number
from tfpoison.recipes.settings import SELECTIONS
from tfpoison.settings import Settings, setting

if TYPE_CHECKING:
    from tfpoison.data import Description, Examples
    from tfpoison.perturbations.trigger import Trigger
    from tfpoison.randomness import Purpose

_LARGEST_ID = 2**63 - 1
THREAT_MODELS = ("single_class", "third_party", "random_images")

MakeTrigger = Callable[[np.random.Generator, tuple[int, int, int]], "Trigger"]


@dataclasses.dataclass(frozen=True)
class TrialKey:
    """What a trial's draws depend on.

    Attributes:
        seed: the seed of all trials.
        trial: the number of the trial.
    """

    seed: int
    trial: int

    def __str__(self) -> str:
        return f"{self.seed}-{self.trial}"

    def rng(self, purpose: "Purpose") -> np.random.Generator:
        """Returns the source of the draws for one purpose."""
        return purpose.generator(self.seed, self.trial)


@dataclasses.dataclass(frozen=True)
class ThreatSettings(Settings):
    """What is known of a threat before it is drawn; what is given is not drawn.

    Attributes:
        poisons_are_sources: whether the poisons are images of the targets' class, whose labels
            change, whatever the threat model.
    """

    threat_model: str = setting(
        "single_class",
        "Whose images are poisoned: the adversarial class's, those of a third class, or any.",
        choices=THREAT_MODELS,
    )
    budget: float = setting(
        0.01,
        "Poisons: a share of the training set below 1, or a number.",
        minimum=0,
        exclusive_minimum=True,
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
    poisons_are_sources: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
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
        if self.poisons_are_sources:
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
        # The class that is poisoned, and those that it must not be.
        poisoned, others = self.adversarial_class, [self.target_class]
        if self.poisons_are_sources:
            # The source class is drawn first, from all but an adversarial class that is given.
            given = self.adversarial_class
            poisoned, others = self.target_class, [] if given is None else [given]
        elif self.threat_model == "third_party":
            poisoned, others = None, [self.target_class, self.adversarial_class]
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


@dataclasses.dataclass(frozen=True, eq=False)
class Threat:
    """A threat, drawn or given.

    Attributes:
        key: the trial key, as printed.
        target_ids: the target images' ids in the validation split, (targets,). For triggers: all
            held-out source images.
        target_class: the targets' true class; for triggers the source class.
        adversarial_class: what the adversary wants the targets to be called.
        poison_ids: the poisons' ids in the training split, ascending.
        trigger: the trigger; None for targeted poisoning.
        source_ids: training images of the source class that triggered poisons are crafted with.
    """

    key: str
    target_ids: np.ndarray
    target_class: int
    adversarial_class: int
    poison_ids: np.ndarray
    trigger: "Trigger | None" = None
    source_ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not isinstance(self.key, str):
            raise TypeError(f"Expected `key` to be a text. Received: {self.key!r}")
        for name in ("target_class", "adversarial_class"):
            check_number(name, getattr(self, name), minimum=0, whole=True)
        if self.target_class == self.adversarial_class:
            raise ValueError(
                "Expected `adversarial_class` to be another than `target_class`. Received: "
                f"{self.target_class} for both"
            )
        for name, ids in (
            ("target_ids", np.sort(self.target_ids)),
            ("poison_ids", self.poison_ids),
            ("source_ids", self.source_ids),
        ):
            check_array(name, ids, np.int64, (None,), minimum=0, ascending=True)

    def target_images(self, validation: "Examples") -> np.ndarray:
        """Returns the targets as the victim will see them, uint8 (targets, H, W, C)."""
        images = validation.read(positions_of(validation, self.target_ids))
        return images if self.trigger is None else self.trigger.put_on(images, self.target_ids)

    def source_images(self, train: "Examples") -> np.ndarray:
        """Returns the sources with the trigger, uint8 (sources, H, W, C)."""
        assert self.trigger is not None
        images = train.read(positions_of(train, self.source_ids))
        return self.trigger.put_on(images, self.source_ids)


def draw(
    settings: ThreatSettings,
    key: TrialKey,
    train: "Examples",
    validation: "Examples",
    classes: int,
    *,
    eligible: np.ndarray | None = None,
    gradient_norms: np.ndarray | None = None,
    trigger: MakeTrigger | None = None,
    sources: int = 0,
) -> Threat:
    """Draws a threat; the same key and settings give the same threat.

    Args:
        settings: what is known of it.
        key: the trial key.
        train: the training set.
        validation: the held-out images.
        classes: the number of classes.
        eligible: which held-out images may be drawn for targets, bool (validation,): those that
            clean networks classify rightly. None: all. Targets that are given are taken as they
            are, and so are those of a threat with a trigger, all held-out images of a class:
            `success_without_poisons` of a trial's record tells what clean networks say.
        gradient_norms: of every training image, (train,), for the selection by them.
        trigger: draws the trigger of a threat that has one, as `Patch.draw` does; None for none.
        sources: how many training images of the source class are drawn beside, to craft with.

    Raises:
        ValueError: no such threat can be drawn from these data.
    """
    from tfpoison.randomness import Purpose

    settings.check(train, validation, classes)
    settings = settings.complete(train, validation)
    has_room = _has_room(settings, train, classes)
    rng = key.rng(Purpose.TARGETS)
    if settings.target_class is not None and settings.target_ids:
        target_class, target_ids = settings.target_class, np.array(settings.target_ids, np.int64)
    else:
        # A trigger is measured on a whole class, whatever networks say of its images.
        may_be_targets = (
            _may_be_targets(eligible, train, validation)
            if trigger is None
            else np.ones(validation.size, bool)
        )
        target_class, target_ids = _draw_targets(
            settings,
            rng,
            validation,
            may_be_targets,
            has_room if settings.poisons_are_sources else np.ones(classes, bool),
            with_trigger=trigger is not None,
        )
    adversarial_class, poison_class = _draw_classes(settings, rng, target_class, has_room)
    poison_ids = _draw_poisons(
        settings, key.rng(Purpose.POISONS), train, poison_class, gradient_norms
    )
    drawn, source_ids = None, np.zeros(0, np.int64)
    if trigger is not None:
        drawn = trigger(key.rng(Purpose.TRIGGER), train.image_shape)
        candidates = np.setdiff1d(train.ids[train.labels == target_class], poison_ids)
        source_ids = np.sort(key.rng(Purpose.SOURCES).permutation(candidates)[:sources])
    return Threat(
        key=str(key),
        target_ids=target_ids,
        target_class=target_class,
        adversarial_class=adversarial_class,
        poison_ids=poison_ids,
        trigger=drawn,
        source_ids=source_ids,
    )


def _has_room(settings: ThreatSettings, train: "Examples", classes: int) -> np.ndarray:
    """Returns which classes have enough training images to be poisoned, bool (classes,)."""
    if settings.poison_ids:
        return np.ones(classes, bool)
    sizes = np.bincount(train.labels, minlength=classes)
    return sizes >= settings.count_poisons(train.size)


def _draw_class(rng: np.random.Generator, candidates: Any, has_room: np.ndarray) -> int:
    """Draws a class that has room for the poisons, each with the same probability.

    A class without room is drawn again. So what is drawn does not depend on classes that never
    come up: a trial key draws the same as it did where all classes were drawn from.
    """
    drawn = int(rng.choice(candidates))
    return drawn if has_room[drawn] else int(rng.choice([c for c in candidates if has_room[c]]))


def _draw_classes(
    settings: ThreatSettings, rng: np.random.Generator, target_class: int, has_room: np.ndarray
) -> tuple[int, int | None]:
    """Returns the adversarial class, and the class of the poisons; None for any."""
    others = [each for each in range(len(has_room)) if each != target_class]
    single_class = settings.threat_model == "single_class" and not settings.poisons_are_sources
    adversarial_class = settings.adversarial_class
    if adversarial_class is None:
        room = has_room if single_class else np.ones_like(has_room)
        adversarial_class = _draw_class(rng, others, room)
    if settings.poisons_are_sources:
        return adversarial_class, target_class
    if settings.threat_model == "third_party":
        thirds = [each for each in others if each != adversarial_class]
        return adversarial_class, _draw_class(rng, thirds, has_room)
    return adversarial_class, adversarial_class if single_class else None


def _draw_targets(
    settings: ThreatSettings,
    rng: np.random.Generator,
    validation: "Examples",
    eligible: np.ndarray,
    has_room: np.ndarray,
    *,
    with_trigger: bool,
) -> tuple[int, np.ndarray]:
    wanted = 1 if with_trigger else settings.targets
    counts = np.bincount(validation.labels[eligible], minlength=len(has_room))
    possible = np.flatnonzero(counts >= wanted)
    if settings.target_class is not None:
        possible = np.intersect1d(possible, [settings.target_class])
    elif settings.adversarial_class is not None:
        possible = np.setdiff1d(possible, [settings.adversarial_class])
    if not has_room[possible].any():
        raise ValueError(
            f"Expected a class with {wanted} held-out images that can be targets. There is none: "
            f"the classes have {counts.tolist()}"
            + ("" if has_room.all() else ", and only some of them room for the budget")
        )
    target_class = _draw_class(rng, possible, has_room)
    if with_trigger:
        # Success is measured over all held-out images of the source class.
        return target_class, validation.ids[validation.labels == target_class]
    candidates = np.flatnonzero(eligible & (validation.labels == target_class))
    return target_class, validation.ids[np.sort(rng.permutation(candidates)[: settings.targets])]


def _draw_poisons(
    settings: ThreatSettings,
    rng: np.random.Generator,
    train: "Examples",
    poison_class: int | None,
    gradient_norms: np.ndarray | None,
) -> np.ndarray:
    if settings.poison_ids:
        return np.sort(np.array(settings.poison_ids, np.int64))
    candidates = np.arange(train.size)
    if poison_class is not None:
        candidates = np.flatnonzero(train.labels == poison_class)
    if settings.selection == "gradient_norm":
        if gradient_norms is None:
            raise ValueError("Expected gradient norms for the selection by them. Received none.")
        order = np.argsort(-gradient_norms[candidates], kind="stable")
    else:
        order = rng.permutation(len(candidates))
    return np.sort(train.ids[candidates[order[: settings.count_poisons(train.size)]]])


def positions_of(examples: "Examples", ids: np.ndarray) -> np.ndarray:
    """Returns the positions of ids among examples.

    Raises:
        ValueError: there are no such examples.
    """
    positions = np.searchsorted(examples.ids, ids)
    found = examples.ids[np.minimum(positions, examples.size - 1)] == ids
    if not found.all():
        raise ValueError(
            "Expected ids of these examples. Received unknown ones: "
            f"{', '.join(map(str, np.asarray(ids)[~found][:5]))}"
        )
    return positions


def _may_be_targets(
    eligible: np.ndarray | None, train: "Examples", validation: "Examples"
) -> np.ndarray:
    """Returns which held-out images may be drawn for targets, bool (validation,)."""
    if eligible is None:
        eligible = np.ones(validation.size, bool)
    if not _in_memory(train, validation):
        return eligible
    return eligible & ~_in_training_set(validation.images, train)


def _check_outside(ids: tuple[int, ...], train: "Examples", validation: "Examples") -> None:
    if not ids or not _in_memory(train, validation):
        return
    images = validation.read(positions_of(validation, np.array(ids, np.int64)))
    inside = np.array(ids)[_in_training_set(images, train)]
    if inside.size:
        raise ValueError(
            "Expected targets outside the training set. Received images that are in it too: "
            f"{', '.join(map(str, inside[:5]))}"
        )


def _in_memory(*examples: "Examples") -> bool:
    # Images on disk are not compared: it would take a pass over all of them.
    return all(each.in_memory for each in examples)


def _in_training_set(images: np.ndarray, train: "Examples") -> np.ndarray:
    """Returns which images are in the training set, bool (n,)."""
    known = {image.tobytes() for image in train.images}
    return np.array([image.tobytes() in known for image in images], bool)
