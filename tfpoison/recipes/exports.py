"""Poisoned data sets in the forms that other tools read."""

import pathlib
import pickle
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image

from tfpoison.checks import check_name
from tfpoison.data import Examples, ImageClassification
from tfpoison.recipes.poisons import Poisons

POISONS = "poisons.csv"


def image_folder(poisons: Poisons, images: ImageClassification, folder: pathlib.Path) -> None:
    """Writes `train/CLASS/ID.png` with the poisons in it, and `test/CLASS/ID.png`.

    `--dataset=image_folder --data_dir=FOLDER` reads it. `poisons.csv` says which images are
    poisons: a line CLASS/ID.png for each.

    Args:
        poisons: the poisons.
        images: the data set that they were made for.
        folder: a folder that is made.
    """
    for name, examples in _splits(poisons, images).items():
        for each in images.class_names:
            (folder / name / each).mkdir(parents=True, exist_ok=True)
        for number, image, label in _rows(examples):
            path = folder / name / images.class_names[label] / f"{number:06d}.png"
            _picture(image).save(path)
    files = [
        f"{images.class_names[label]}/{number:06d}.png"
        for number, label in zip(poisons.ids.tolist(), poisons.labels.tolist(), strict=True)
    ]
    (folder / POISONS).write_text("\n".join(["file", *files]) + "\n")


def tfds_data_set(poisons: Poisons, images: ImageClassification, folder: pathlib.Path) -> None:
    """Writes a TFDS data set named `poisoned`, with the splits `train` and `test`.

    `tfds.load("poisoned", data_dir=FOLDER)` reads it, in the order of the ids.

    Args:
        poisons: the poisons.
        images: the data set that they were made for.
        folder: a folder that is made.
    """
    import tensorflow_datasets as tfds

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

    Args:
        poisons: the poisons.
        images: the data set that they were made for.
        folder: a folder that is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [_picture(image) for image in poisons.poisoned_images(images.train)]
    pairs = list(zip(pictures, map(int, poisons.labels), strict=True))
    threat = poisons.threat
    position = int(np.searchsorted(images.validation.ids, threat.target_ids[0]))
    clean_target = images.validation.read(np.array([position]))[0]
    target: tuple[Any, ...] = (_picture(clean_target), threat.target_class)
    if threat.trigger is not None:
        pattern = threat.trigger.pattern.transpose(2, 0, 1).astype(np.float32) / 255
        target = (*target, pattern, list(threat.trigger.place or (0, 0)))
    for name, content in (
        ("poisons", pairs),
        ("base_indices", [int(each) for each in poisons.ids]),
        ("target", target),
    ):
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(content))


_EXPORTS: dict[str, Callable[[Poisons, ImageClassification, pathlib.Path], None]] = {
    "image_folder": image_folder,
    "tfds": tfds_data_set,
    "poisoning_benchmark": poisoning_benchmark,
}


def names() -> list[str]:
    """Returns the names of the forms."""
    return list(_EXPORTS)


def export(
    name: str, poisons: Poisons, images: ImageClassification, folder: pathlib.Path
) -> pathlib.Path:
    """Writes a poisoned data set in one form, whole or not at all, and returns its folder.

    Args:
        name: one of `names()`.
        poisons: the poisons.
        images: the data set that they were made for.
        folder: where a folder of the form's name is made; an earlier one is replaced.

    Raises:
        ValueError: the form is unknown, or the poisons were made for other data.
    """
    check_name("export", name, names())
    poisons.check(images.train)
    partial, path = folder / f".{name}.partial", folder / name
    shutil.rmtree(partial, ignore_errors=True)
    _EXPORTS[name](poisons, images, partial)
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    return path


def _splits(poisons: Poisons, images: ImageClassification) -> dict[str, Examples]:
    return {"train": poisons.poison(images.train), "test": images.validation}


def _rows(examples: Examples, batch: int = 1024) -> Iterator[tuple[int, np.ndarray, int]]:
    for first in range(0, examples.size, batch):
        positions = np.arange(first, min(first + batch, examples.size))
        images = examples.read(positions)
        for position, image in zip(positions, images, strict=True):
            yield int(examples.ids[position]), image, int(examples.labels[position])


def _picture(image: np.ndarray) -> PIL.Image.Image:
    return PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
