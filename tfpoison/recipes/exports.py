"""Poisoned data sets in the forms that other tools read; each form makes the folder given."""

import itertools
import pathlib
import pickle
import shutil
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tfpoison import csv_files
from tfpoison.data import Examples, ImageClassification
from tfpoison.perturbations.patch import Patch
from tfpoison.recipes.poisons import Poisons
from tfpoison.recipes.table import EXPORTS
from tfpoison.recipes.threat import positions_of
from tfpoison.report.pictures import to_picture

POISONS = "poisons.csv"
# What some file system takes for something else than a letter; "%" marks what stands for them.
_NOT_IN_FILE_NAMES = frozenset('/\\:*?"<>|%')
_LONGEST_FILE_NAME = 255


def image_folder(poisons: Poisons, images: ImageClassification, folder: pathlib.Path) -> None:
    """Writes `train/CLASS/ID.png` with the poisons in it, and `test/CLASS/ID.png`.

    `--dataset=image_folder --data_dir=FOLDER` reads it. `poisons.csv` says which images are
    poisons: a line CLASS/ID.png for each. CLASS is the name of the class; what cannot stand in the
    name of a folder is written as in URLs: T-shirt%2Ftop for T-shirt/top.

    Raises:
        ValueError: two classes have one name, or a name is too long for a folder.
    """
    classes = _folder_names(images.class_names)
    for name, examples in _splits(poisons, images).items():
        for each in classes:
            # Where a file system takes two names for one, this stops before classes are mixed.
            (folder / name / each).mkdir(parents=True)
        for number, image, label in _rows(examples):
            to_picture(image).save(folder / name / classes[label] / f"{number:06d}.png")
    pairs = zip(poisons.ids.tolist(), poisons.labels.tolist(), strict=True)
    rows = [["file"], *([f"{classes[label]}/{number:06d}.png"] for number, label in pairs)]
    (folder / POISONS).write_text(csv_files.text(rows), encoding="utf-8", newline="")


def tfds_data_set(poisons: Poisons, images: ImageClassification, folder: pathlib.Path) -> None:
    """Writes a TFDS data set named `poisoned`, with the splits `train` and `test`.

    `tfds.load("poisoned", data_dir=FOLDER)` reads it, in the order of the ids.

    Raises:
        ValueError: TFDS cannot keep the name of a class.
    """
    import tensorflow_datasets as tfds

    _check_tfds_names(images.class_names)
    splits = _splits(poisons, images)

    class Poisoned(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """A training set with poisons in it."""

        VERSION = tfds.core.Version("1.0.0")
        url_infos = None

        def _info(self) -> tfds.core.DatasetInfo:
            return self.dataset_info_from_configs(
                description=f"{images.name} with poisons: {poisons.settings.get('recipe')}",
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=images.image_shape),
                        "label": tfds.features.ClassLabel(names=list(images.class_names)),
                    }
                ),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {name: self._generate_examples(each) for name, each in splits.items()}

        def _generate_examples(self, examples: Examples) -> Iterator[tuple[int, dict]]:
            for number, image, label in _rows(examples):
                yield number, {"image": image, "label": label}

    Poisoned(data_dir=str(folder)).download_and_prepare()


def poisoning_benchmark(
    poisons: Poisons, images: ImageClassification, folder: pathlib.Path
) -> None:
    """Writes `poisons.pickle`, `base_indices.pickle` and `target.pickle`.

    These are the files that the poisoning benchmark (arXiv 2006.12557) evaluates: a list of
    (picture, label), the list of the poisons' indices, and (picture, label) of the target; for a
    trigger (picture, label, pattern as channels × height × width in [0, 1], [row, column]).

    Raises:
        ValueError: the trigger is no patch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [to_picture(image) for image in poisons.poisoned_images(images.train)]
    pairs = list(zip(pictures, map(int, poisons.labels), strict=True))
    threat = poisons.threat
    target_id = threat.target_ids[:1]
    [clean_target] = images.validation.read(positions_of(images.validation, target_id))
    target_class = int(threat.target_labels(images.validation)[0])
    target: tuple[Any, ...] = (to_picture(clean_target), target_class)
    if threat.trigger is not None:
        if not isinstance(threat.trigger, Patch):
            raise ValueError(
                "Expected poisons of a patch, the only trigger that the benchmark knows. Received: "
                f"{type(threat.trigger).__name__}"
            )
        pattern = threat.trigger.pattern.transpose(2, 0, 1).astype(np.float32) / 255
        place = threat.trigger.place_on(int(target_id[0]), images.image_shape)
        target = (*target, pattern, list(place))
    for name, content in (
        ("poisons", pairs),
        ("base_indices", [int(each) for each in poisons.ids]),
        ("target", target),
    ):
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(content))


def export(
    name: str, poisons: Poisons, images: ImageClassification, folder: pathlib.Path
) -> pathlib.Path:
    """Writes a poisoned data set in a form of `EXPORTS`, whole or not at all; returns its folder.

    An earlier one is replaced.

    Raises:
        ValueError: the form is unknown or cannot hold the names of the classes, or the poisons were
            made for other data.
    """
    write = EXPORTS[name]
    poisons.check(images.train)
    partial, old, path = folder / f".{name}.partial", folder / f".{name}.old", folder / name
    shutil.rmtree(partial, ignore_errors=True)
    write(poisons, images, partial)
    # Out of the way as a whole: half of an earlier one must not stand for all of it.
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)
    return path


def _splits(poisons: Poisons, images: ImageClassification) -> dict[str, Examples]:
    return {"train": poisons.poison(images.train), "test": images.validation}


def _folder_names(class_names: Sequence[str]) -> list[str]:
    """Returns a name for the folder of each class: one part of a path, another for each name."""
    names = [_folder_name(each) for each in class_names]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Expected every class to have a name of its own. Received: {', '.join(class_names)}"
        )
    too_long = [each for each in names if len(each.encode()) > _LONGEST_FILE_NAME]
    if too_long:
        raise ValueError(
            f"Expected names of classes that folders of up to {_LONGEST_FILE_NAME} bytes can have. "
            f"Received: {too_long[0]}"
        )
    return names


def _folder_name(class_name: str) -> str:
    ends = (0, len(class_name) - 1)
    letters = (
        # No folder may be hidden, be "." or "..", or begin or end with a blank.
        _in_url(each) if _is_odd(each) or (each in ". " and place in ends) else each
        for place, each in enumerate(class_name)
    )
    # Nothing but no name at all becomes a single "%".
    return "".join(letters) or "%"


def _is_odd(letter: str) -> bool:
    return letter in _NOT_IN_FILE_NAMES or not letter.isprintable()


def _in_url(letter: str) -> str:
    # `quote` leaves full stops as they are.
    return "%2E" if letter == "." else urllib.parse.quote(letter, safe="", errors="surrogatepass")


def _check_tfds_names(class_names: Sequence[str]) -> None:
    # TFDS keeps names as the lines of a file, without blanks around them.
    lost = [each for each in class_names if each.split("\n") != [each.strip()] or not each]
    if lost:
        raise ValueError(
            "Expected names of classes that are lines without blanks around them, as a TFDS data "
            f"set keeps them. Received: {', '.join(map(repr, lost))}"
        )


def _rows(examples: Examples) -> Iterator[tuple[int, np.ndarray, int]]:
    images = itertools.chain.from_iterable(examples.batches(64))
    for number, image, label in zip(examples.ids, images, examples.labels, strict=True):
        yield int(number), image, int(label)
