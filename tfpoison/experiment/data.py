"""The images of an experiment: those that are poisoned, and those that features come from."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfpoison.data import Description, Examples, ImageClassification, Selection
from tfpoison.experiment.settings import PretrainingSettings
from tfpoison.fitting.settings import DataSettings
from tfpoison.randomness import Purpose
from tfpoison.recipes import ThreatSettings


def load(
    settings: DataSettings, pretraining: PretrainingSettings | None
) -> tuple[ImageClassification, ImageClassification | None]:
    """Loads the images of an experiment, and those of its pretraining if there is one.

    Raises:
        ValueError: the data are not there, or too few.
    """
    if pretraining is None:
        return settings.load(), None
    if pretraining.source == "data_set":
        images = settings.load()
        others = _other_data_set(settings, pretraining, images.image_shape[:2]).load()
        _check_channels(images, others)
        return images, others
    everything = dataclasses.replace(
        settings, train_size=None, validation_size=None, balanced=False
    ).load()
    if pretraining.source == "other_classes":
        _check_classes(pretraining, everything.classes)
        kept = [each for each in range(everything.classes) if each not in pretraining.classes]
        images = _of_classes(everything, kept)
        others = _of_classes(everything, pretraining.classes)
        return (
            dataclasses.replace(
                images,
                train=_subset(images.train, settings, settings.train_size, settings.train_ids),
                validation=_validation(images, settings),
            ),
            # Nothing is validated on the other classes: any number of their images may be held out.
            dataclasses.replace(others, train=_subset(others.train, settings, pretraining.size)),
        )
    return _of_other_images(everything, settings, pretraining.size)


def _other_data_set(
    settings: DataSettings, pretraining: PretrainingSettings, image_size: tuple[int, int] | None
) -> Selection:
    return Selection(
        str(pretraining.dataset),
        data_dir=pretraining.data_dir,
        download=settings.download,
        image_size=image_size,
        train_size=pretraining.size,
        subset_seed=settings.subset_seed,
    )


def _of_other_images(
    everything: ImageClassification, settings: DataSettings, size: int | None
) -> tuple[ImageClassification, ImageClassification]:
    train = everything.train
    if settings.train_size is None or settings.train_size >= train.size:
        raise ValueError(
            "Expected a train_size that leaves other images of the split for the pretraining, "
            f"which has {train.size}. Received: train_size={settings.train_size}"
        )
    ours = settings.choose(train, settings.train_size, settings.train_ids)
    left = np.setdiff1d(np.arange(train.size), ours)
    others = left
    if size is not None:
        if size > len(left):
            raise ValueError(
                f"Expected a pretraining_size of at most {len(left)}, the images that are left. "
                f"Received: {size}"
            )
        generator = Purpose.PRETRAINING_SUBSET.generator(settings.subset_seed)
        order = generator.permutation(left)
        others = np.sort(order[:size])
    validation = _validation(everything, settings)
    name, classes = everything.name, everything.class_names
    return (
        ImageClassification(name, classes, train.select(ours), validation),
        ImageClassification(name, classes, train.select(others), validation),
    )


def _of_classes(
    everything: ImageClassification, classes: tuple[int, ...] | list[int]
) -> ImageClassification:
    """Returns all images of some classes, which are numbered in their order."""
    new_label = np.full(everything.classes, -1)
    new_label[list(classes)] = np.arange(len(classes))

    def restrict(examples: Examples) -> Examples:
        positions = np.flatnonzero(np.isin(examples.labels, classes))
        return examples.select(positions, new_label[examples.labels[positions]])

    return ImageClassification(
        everything.name,
        tuple(everything.class_names[each] for each in classes),
        restrict(everything.train),
        restrict(everything.validation),
    )


def _validation(images: ImageClassification, settings: DataSettings) -> Examples:
    return _subset(images.validation, settings, settings.validation_size, settings.validation_ids)


def _subset(
    examples: Examples, settings: DataSettings, size: int | None, wanted: Sequence[int] = ()
) -> Examples:
    return examples.select(settings.choose(examples, size, wanted))


def _check_classes(pretraining: PretrainingSettings, count: int) -> None:
    classes = set(pretraining.classes)
    once = len(classes) == len(pretraining.classes)
    if not once or not classes <= set(range(count)) or len(classes) > count - 2:
        raise ValueError(
            f"Expected classes from 0 to {count - 1} for the pretraining, each once, that leave "
            f"two or more for the experiment. Received: {sorted(pretraining.classes)}"
        )


def _check_channels(images: ImageClassification, others: ImageClassification) -> None:
    if images.image_shape != others.image_shape:
        raise ValueError(
            f"Expected images of the shape {images.image_shape} for the pretraining. Received: "
            f"{others.image_shape} in {others.name!r}"
        )


def check(settings: DataSettings, pretraining: PretrainingSettings | None) -> Description:
    """Returns what is known of the data; raises what `load` would, as far as can be told unread."""
    train_size = settings.train_size
    if pretraining is not None and pretraining.source == "other_images":
        if settings.train_size is None:
            raise ValueError(
                "Expected a train_size that leaves other images of the split for the pretraining. "
                "Received: train_size=None"
            )
        train_size = settings.train_size + (pretraining.size or 1)
    description = dataclasses.replace(settings, train_size=train_size).check()
    if settings.train_size is not None:
        description = dataclasses.replace(description, train_size=settings.train_size)
    if pretraining is not None and pretraining.source == "other_classes":
        _check_classes(pretraining, description.classes)
        names = description.class_names
        kept = [names[n] for n in range(len(names)) if n not in pretraining.classes]
        return dataclasses.replace(description, class_names=tuple(kept))
    if pretraining is not None and pretraining.source == "data_set":
        _other_data_set(settings, pretraining, settings.image_size).check()
    return description


def check_threat(threat: ThreatSettings, pretraining: PretrainingSettings | None) -> None:
    """Raises ValueError where a threat's numbers of classes would name others than the user means.

    Pretraining on other classes takes them out of the experiment, and those that are left get new
    numbers. Ids of images stay what they are.
    """
    if pretraining is None or pretraining.source != "other_classes":
        return
    given = {
        name: getattr(threat, name)
        for name in ("target_class", "adversarial_class")
        if getattr(threat, name) is not None
    }
    if given:
        raise ValueError(
            "Expected no numbers of classes, and no set-ups, with a pretraining on other classes: "
            "the classes that are left have new numbers. Received: "
            f"{', '.join(f'{name}={number}' for name, number in given.items())}. Name images of "
            "the classes instead: target_ids, poison_ids."
        )
