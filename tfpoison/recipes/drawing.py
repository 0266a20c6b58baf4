"""Draws of threats: the same key and settings give the same threat."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tfpoison.data import Examples
from tfpoison.perturbations.trigger import Trigger
from tfpoison.randomness import Purpose
from tfpoison.recipes.threat import Threat, positions_of
from tfpoison.recipes.threat_settings import ThreatSettings, in_memory, in_training_set

MakeTrigger = Callable[[np.random.Generator, tuple[int, int, int]], Trigger]


@dataclasses.dataclass(frozen=True)
class TrialKey:
    """What a trial's draws depend on: the seed of all trials, and the number of the trial.

    The `number` is that of the threat, where several share the training of a trial.
    """

    seed: int
    trial: int
    number: int = 0

    @property
    def _parts(self) -> tuple[int, ...]:
        return (self.seed, self.trial, *([self.number] if self.number else []))

    def __str__(self) -> str:
        return "-".join(map(str, self._parts))

    def rng(self, purpose: Purpose) -> np.random.Generator:
        """Returns the source of the draws for one purpose."""
        return purpose.generator(*self._parts)


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
    beside: Sequence[Threat] = (),
) -> Threat:
    """Draws a threat; the same key and settings give the same threat.

    Args:
        eligible: which held-out images may be drawn for targets, bool (validation,): those that
            clean networks classify rightly. None: all. Targets that are given are taken as they
            are, and so are those of a threat with a trigger, all held-out images of its sources.
        gradient_norms: of every training image, (train,), for the selection by them.
        trigger: draws the trigger of a threat that has one, as `Patch.draw` does; None for none.
        sources: how many training images of the source class are drawn beside, to craft with.
        beside: threats that share the training: neither their poisons nor their targets are drawn
            again, nor their adversarial classes while there are others with room.

    Raises:
        ValueError: no such threat can be drawn from these data.
    """
    settings.check(train, validation, classes)
    settings = settings.complete(train, validation)
    free = ~np.isin(train.ids, _joined(each.poison_ids for each in beside))
    has_room = _has_room(settings, train, free, classes)
    rng, target_class = key.rng(Purpose.TARGETS), None
    if settings.all_to_one and trigger is None:
        raise ValueError("Expected a trigger for a threat to all classes. Received none.")
    if settings.target_class is not None and settings.target_ids:
        target_class, target_ids = settings.target_class, np.array(settings.target_ids, np.int64)
    elif settings.all_to_one:
        target_ids = validation.ids
    elif trigger is not None:
        target_class = _draw_target_class(settings, rng, validation.labels, has_room, wanted=1)
        target_ids = validation.ids[validation.labels == target_class]
    else:
        may_be = _may_be_targets(eligible, train, validation, beside)
        target_class, target_ids = _draw_targets(settings, rng, validation, may_be, has_room)
    adversarial_class, poison_classes = _draw_classes(settings, rng, target_class, has_room, beside)
    rng = key.rng(Purpose.POISONS)
    poison_ids = _draw_poisons(settings, rng, train, free, poison_classes, gradient_norms)
    if settings.all_to_one:
        target_ids = validation.ids[validation.labels != adversarial_class]
    threat = Threat(str(key), target_ids, target_class, adversarial_class, poison_ids)
    if trigger is None:
        return threat
    candidates = np.setdiff1d(train.ids[threat.is_source(train.labels)], poison_ids)
    threat = dataclasses.replace(
        threat,
        trigger=trigger(key.rng(Purpose.TRIGGER), train.image_shape),
        source_ids=np.sort(key.rng(Purpose.SOURCES).permutation(candidates)[:sources]),
    )
    return _with_covers(threat, key, settings.count_covers(len(poison_ids)), train.ids[free])


def _joined(ids: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *ids])


def _has_room(
    settings: ThreatSettings, train: Examples, free: np.ndarray, classes: int
) -> np.ndarray:
    """Returns which classes have enough free training images to be poisoned, bool (classes,).

    Where all other classes are poisoned: which leave enough of them.
    """
    to_all = settings.all_to_one and settings.poisons_are_sources
    if settings.poison_ids:
        labels = train.labels[positions_of(train, np.array(settings.poison_ids, np.int64))]
        return ~np.isin(np.arange(classes), labels) if to_all else np.ones(classes, bool)
    sizes = np.bincount(train.labels[free], minlength=classes)
    room = sizes.sum() - sizes if to_all else sizes
    return room >= settings.count_poisons(train.size)


def _draw_class(rng: np.random.Generator, candidates: Any, has_room: np.ndarray) -> int:
    """Draws a class that has room for the poisons, each with the same probability.

    A class without room is drawn again. So what is drawn does not depend on classes that never
    come up: a trial key draws the same as it did where all classes were drawn from.
    """
    drawn = int(rng.choice(candidates))
    if has_room[drawn]:
        return drawn
    others = [each for each in candidates if has_room[each]]
    return int(rng.choice(others)) if others else drawn


def _draw_classes(
    settings: ThreatSettings,
    rng: np.random.Generator,
    target_class: int | None,
    has_room: np.ndarray,
    beside: Sequence[Threat],
) -> tuple[int, list[int]]:
    """Returns the adversarial class, and the classes of the poisons.

    Adversarial classes of threats beside are drawn again where no other is left.
    """
    others = [each for each in range(len(has_room)) if each != target_class]
    single_class = settings.threat_model == "single_class" and not settings.poisons_are_sources
    adversarial_class = settings.adversarial_class
    if adversarial_class is None:
        of_sources = settings.poisons_are_sources and target_class is None
        room = has_room if single_class or of_sources else np.ones_like(has_room)
        fresh = room & ~np.isin(np.arange(len(room)), [each.adversarial_class for each in beside])
        room = fresh if fresh[others].any() else room
        adversarial_class = _draw_class(rng, others, room)
    thirds = [each for each in others if each != adversarial_class]
    if settings.poisons_are_sources:
        return adversarial_class, thirds if target_class is None else [target_class]
    if settings.threat_model == "third_party":
        return adversarial_class, [_draw_class(rng, thirds, has_room)]
    return adversarial_class, [adversarial_class] if single_class else list(range(len(has_room)))


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
    free: np.ndarray,
    poison_classes: list[int],
    gradient_norms: np.ndarray | None,
) -> np.ndarray:
    if settings.poison_ids:
        return np.sort(np.array(settings.poison_ids, np.int64))
    candidates = np.flatnonzero(free & np.isin(train.labels, poison_classes))
    if settings.selection == "gradient_norm":
        if gradient_norms is None:
            raise ValueError("Expected gradient norms for the selection by them. Received none.")
        order = np.argsort(-gradient_norms[candidates], kind="stable")
    else:
        order = rng.permutation(len(candidates))
    wanted = settings.count_poisons(train.size)
    _check_left(wanted, len(candidates), "to poison")
    return np.sort(train.ids[candidates[order[:wanted]]])


def _draw_targets(
    settings: ThreatSettings,
    rng: np.random.Generator,
    validation: Examples,
    may_be: np.ndarray,
    has_room: np.ndarray,
) -> tuple[int, np.ndarray]:
    """Returns a class and the ids of targets of it, of images that may be targets, bool (n,)."""
    labels, wanted = validation.labels[may_be], settings.targets
    target_class = _draw_target_class(settings, rng, labels, has_room, wanted=wanted)
    candidates = np.flatnonzero(may_be & (validation.labels == target_class))
    return target_class, validation.ids[np.sort(rng.permutation(candidates)[:wanted])]


def _with_covers(threat: Threat, key: TrialKey, wanted: int, free: np.ndarray) -> Threat:
    """Returns the threat with so many covers, of the ids that are free."""
    left = np.setdiff1d(free, threat.poison_ids)
    _check_left(wanted, len(left), "to cover")
    covers = np.sort(key.rng(Purpose.COVERS).permutation(left)[:wanted])
    poison_ids = np.union1d(threat.poison_ids, covers)
    return dataclasses.replace(threat, poison_ids=poison_ids, cover_ids=covers)


def _check_left(wanted: int, left: int, purpose: str) -> None:
    if wanted > left:
        raise ValueError(
            f"Expected {wanted} images {purpose} beside those of the training's other adversaries. "
            f"{left} are left. Lower `budget`, or the number of adversaries."
        )


def _may_be_targets(
    eligible: np.ndarray | None, train: Examples, validation: Examples, beside: Sequence[Threat]
) -> np.ndarray:
    """Returns which held-out images may be drawn for targets, bool (validation,)."""
    others = (each.target_ids for each in beside if each.trigger is None)
    may_be = ~np.isin(validation.ids, _joined(others))
    if eligible is not None:
        may_be &= eligible
    if in_memory(train, validation):
        may_be &= ~in_training_set(validation.images, train)
    return may_be
