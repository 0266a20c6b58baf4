"""Draws of threats: the same key and settings give the same threat."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfpoison.data import Examples
from tfpoison.perturbations.trigger import Trigger
from tfpoison.randomness import Purpose
from tfpoison.recipes.threat import Threat
from tfpoison.recipes.threat_settings import ThreatSettings, in_memory, in_training_set

MakeTrigger = Callable[[np.random.Generator, tuple[int, int, int]], Trigger]


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

    def rng(self, purpose: Purpose) -> np.random.Generator:
        """Returns the source of the draws for one purpose."""
        return purpose.generator(self.seed, self.trial)


def draw_threat(
    settings: ThreatSettings,
    key: TrialKey,
    train: Examples,
    validation: Examples,
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
    settings.check(train, validation, classes)
    settings = settings.complete(train, validation)
    has_room = _has_room(settings, train, classes)
    rng = key.rng(Purpose.TARGETS)
    if settings.target_class is not None and settings.target_ids:
        target_class, target_ids = settings.target_class, np.array(settings.target_ids, np.int64)
    elif trigger is not None:
        # It is measured on a whole class, whatever networks say of its images.
        target_class = _draw_target_class(settings, rng, validation.labels, has_room, wanted=1)
        target_ids = validation.ids[validation.labels == target_class]
    else:
        may_be = _may_be_targets(eligible, train, validation)
        labels, wanted = validation.labels[may_be], settings.targets
        target_class = _draw_target_class(settings, rng, labels, has_room, wanted=wanted)
        candidates = np.flatnonzero(may_be & (validation.labels == target_class))
        target_ids = validation.ids[np.sort(rng.permutation(candidates)[:wanted])]
    adversarial_class, poison_class = _draw_classes(settings, rng, target_class, has_room)
    rng = key.rng(Purpose.POISONS)
    poison_ids = _draw_poisons(settings, rng, train, poison_class, gradient_norms)
    threat = Threat(str(key), target_ids, target_class, adversarial_class, poison_ids)
    if trigger is None:
        return threat
    candidates = np.setdiff1d(train.ids[train.labels == target_class], poison_ids)
    return dataclasses.replace(
        threat,
        trigger=trigger(key.rng(Purpose.TRIGGER), train.image_shape),
        source_ids=np.sort(key.rng(Purpose.SOURCES).permutation(candidates)[:sources]),
    )


def _has_room(settings: ThreatSettings, train: Examples, classes: int) -> np.ndarray:
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


def _draw_target_class(
    settings: ThreatSettings,
    rng: np.random.Generator,
    labels: np.ndarray,
    has_room: np.ndarray,
    *,
    wanted: int,
) -> int:
    """Returns a class, given those of the held-out images that can be targets, (n,)."""
    if not settings.poisons_are_sources:
        has_room = np.ones_like(has_room)
    counts = np.bincount(labels, minlength=len(has_room))
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
    return _draw_class(rng, possible, has_room)


def _draw_poisons(
    settings: ThreatSettings,
    rng: np.random.Generator,
    train: Examples,
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


def _may_be_targets(
    eligible: np.ndarray | None, train: Examples, validation: Examples
) -> np.ndarray:
    """Returns which held-out images may be drawn for targets, bool (validation,)."""
    if eligible is None:
        eligible = np.ones(validation.size, bool)
    if not in_memory(train, validation):
        return eligible
    return eligible & ~in_training_set(validation.images, train)
