"""Folders of images: which file is an image of which class, and what is in the way of reading it.

Files are decoded as Keras's `image_dataset_from_directory` decodes them, to the same bits, so that
what is found out about an image here goes for it there. What TensorFlow decodes wrongly is left to
Pillow, or refused.
"""

import collections
import contextlib
import dataclasses
import io
import os
import pathlib
import random
import stat
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.Image
import tensorflow as tf

from tfpoison.data.source import Source

LAYOUTS = "DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, or DIR/CLASS/*.png"
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_TRAIN = ("train", "training")
_VALIDATION = ("validation", "val", "valid", "test", "testing")
# What operating systems, disk stations and archives leave behind.
_SYSTEM = {"__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found"}
_SYSTEM |= {"system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"}
_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True)
class _File:
    """An image: its path, and the number of its class."""

    path: str
    label: int


class ImageFolder(Source):
    """A folder of images: `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png`.

    Images are those that Keras's loader reads, and WebP, those in sub-folders of a class included.
    The order of a split is drawn by its name: that of `tfds.ImageFolder`.

    What is left out, or lies in sub-folders, is warned of; hidden and system files and folders are
    passed over.

    Args:
        name: the name that the user gave.
        root: the folder.

    Raises:
        ValueError: there are no such images, a class has none to train on, or a folder cannot be
            read.
    """

    image_shape = (None, None, 3)

    def __init__(self, name: str, root: pathlib.Path):
        self.name = name
        splits = _find_splits(str(root))
        self.train_split, *held_out = splits
        self.validation_split = held_out[0] if held_out else None
        names = sorted(splits[self.train_split].images)
        self.class_names = tuple(map(printable, names))
        self._folders = {split: each.path for split, each in splits.items()}
        self._files: dict[str, list[_File]] = {}
        for split, folder in splits.items():
            self._files[split] = [
                _File(path, label)
                for label, name in enumerate(names)
                for path in folder.images.get(name, [])
            ]
            random.Random(split).shuffle(self._files[split])

    def split_size(self, split: str) -> int:
        """Returns the number of images of a split."""
        return len(self._files[split])

    def labels(self, split: str) -> np.ndarray:
        """Returns the labels of all images of a split, int64 (n,)."""
        return np.array([each.label for each in self._files[split]], np.int64)

    def encoded(self, split: str) -> tf.data.Dataset:
        """Returns (position int64, path, label int64) of all images of a split."""
        paths = [os.fsencode(each.path) for each in self._files[split]]
        return tf.data.Dataset.from_tensor_slices(
            (np.arange(len(paths)), paths, self.labels(split))
        )

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Reads and decodes a file: uint8, (H, W, 3)."""
        content = tf.io.read_file(encoded)
        start = tf.strings.substr(content, 0, 2)
        image = tf.cond(
            # Of these, TensorFlow mistakes palettes for grey, and knows no alpha.
            tf.logical_or(start == "BM", start == "RI"),
            lambda: tf.numpy_function(_decode_by_pillow, [content], tf.uint8, stateful=False),
            lambda: tf.image.decode_image(content, channels=3, expand_animations=False),
        )
        return tf.ensure_shape(image, self.image_shape)

    def describe_position(self, split: str, position: int) -> str:
        """Returns the path of a file, as it starts in the user's own words."""
        return printable(self._files[split][position].path)

    def file_names(self, split: str) -> list[str]:
        """Returns CLASS/FILE of all images of a split, or CLASS/FOLDER/FILE."""
        root = self._folders[split]
        return [printable(os.path.relpath(each.path, root)) for each in self._files[split]]

    def inspect(self, split: str, positions: np.ndarray) -> None:
        """Looks at the head of each file, and warns of what is in files and is not read.

        Raises:
            ValueError: a file is no image, or has 16 bits a channel.
        """
        remarks = collections.defaultdict(list)
        for position in positions.tolist():
            path = self._files[split][position].path
            for remark in _inspect(path):
                remarks[remark].append(path)
        for remark, paths in remarks.items():
            warnings.warn(
                f"{len(paths):,} image(s) {remark}, such as {printable(paths[0])}", stacklevel=2
            )


def printable(path: str) -> str:
    """Returns the name of a file as it can be printed and written, even where it is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _inspect(path: str) -> list[str]:
    """Returns what of an image is not read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError("it is no regular file")
        with PIL.Image.open(path, formats=_FORMATS) as image:
            has_16_bits = image.format == "PNG" and ";16" in str(image.tile[0][3])
            remarks = _remarks(image)
    except Exception as error:  # Damaged files run Pillow into any exception.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        if isinstance(error, PIL.UnidentifiedImageError):
            reason = f"its content is none of {', '.join(_FORMATS)}"
        raise ValueError(
            f"Expected images that can be decoded. Received: {printable(path)}: {reason}"
        ) from error
    if has_16_bits:
        raise ValueError(
            f"Expected images of 8 bits a channel. Received: {printable(path)} of 16 bits. Which "
            "levels matter is yours to say: scale those to 0-255, and save the images again."
        )
    return remarks


def _remarks(image: PIL.Image.Image) -> list[str]:
    remarks = []
    if image.has_transparency_data:
        remarks.append("are transparent in places, or can be: alpha is dropped, as Keras drops it")
    if image.format != "MPO" and getattr(image, "is_animated", False):
        remarks.append("are animated: the first frame is read")
    # A damaged tag is passed over, as Keras does.
    with contextlib.suppress(Exception):
        # (Of PNG files Pillow would read all to find none.)
        if "exif" in image.info and image.getexif().get(_ORIENTATION, 1) != 1:
            remarks.append("are to be turned, by an EXIF tag: they are not, as Keras does not")
    return remarks


def _decode_by_pillow(content: bytes) -> np.ndarray:
    try:
        with PIL.Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:
        raise ValueError("Pillow finds it damaged") from error


@dataclasses.dataclass
class _ClassFolders:
    """What lies in a folder of classes; all are paths.

    Attributes:
        path: the folder.
        images: the images of each class, by its name; a class may have none.
        nested: those that lie in sub-folders of their class's folder.
        others: files that are not read, in the folders of classes.
        outside: images that lie in no class's folder.
    """

    path: str
    images: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    nested: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    outside: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def read(cls, path: str) -> "_ClassFolders":
        """Looks through a folder."""
        found = cls(path)
        folders, files = _list(path)
        found.outside += filter(_is_image, files)
        for folder in folders:
            files = list(_walk(folder))
            images = sorted(filter(_is_image, files))
            found.images[os.path.basename(folder)] = images
            found.nested += [each for each in images if os.path.dirname(each) != folder]
            found.others += [each for each in files if not _is_image(each)]
        return found

    @property
    def holds_classes(self) -> bool:
        """Whether images lie where those of a class should."""
        return sum(map(len, self.images.values())) > len(self.nested)

    def warn(self) -> None:
        """Says what is left out, and what lies deeper than others."""
        where = printable(self.path)
        for paths, text in (
            (self.others, f"file(s) in {where} are no images by their names: left out are"),
            (self.outside, f"image(s) in {where} lie in no class's folder: left out are"),
            (self.nested, f"image(s) in {where} lie in sub-folders of a class's: read are"),
        ):
            if paths:
                warnings.warn(
                    f"{len(paths):,} {text} {_count_endings(paths)}, such as {printable(paths[0])}",
                    stacklevel=3,
                )


def _find_splits(root: str) -> dict[str, _ClassFolders]:
    """Returns the split to train on and, if there is one, that to validate on."""
    folders, _ = _list(root)
    train = _find_split(folders, _TRAIN)
    if train is None:
        flat = _ClassFolders.read(root)
        _check_are_classes(flat)
        splits = {_TRAIN[0]: flat}
    else:
        validation = _find_split(folders, _VALIDATION)
        splits = {os.path.basename(each.path): each for each in (train, validation) if each}
        # A second split to hold out is left alone by custom.
        expected = _TRAIN + (_VALIDATION if validation else ())
        _warn_of_other_images([each for each in folders if _lower_name(each) not in expected])
    _check_classes(*splits.values())
    for each in splits.values():
        each.warn()
    return splits


def _find_split(folders: list[str], names: tuple[str, ...]) -> _ClassFolders | None:
    """Returns the first of the folders by these names that holds folders of classes."""
    called = [each for name in names for each in folders if _lower_name(each) == name]
    return next((each for each in map(_ClassFolders.read, called) if each.holds_classes), None)


def _lower_name(folder: str) -> str:
    return os.path.basename(folder).casefold()


def _warn_of_other_images(folders: list[str]) -> None:
    apart = [each for each in folders if any(map(_is_image, _walk(each)))]
    if apart:
        warnings.warn(
            "Images beside those to train on are left out, in "
            f"{', '.join(map(printable, apart))}. Held-out images are looked for in NAME/CLASS, "
            f"where NAME is one of {', '.join(_VALIDATION)}.",
            stacklevel=2,
        )


def _check_are_classes(flat: _ClassFolders) -> None:
    """Raises ValueError unless the folders in a folder are those of classes."""
    if not flat.holds_classes:
        found = ", ".join(map(printable, sorted(os.listdir(flat.path))[:10])) or "nothing"
        others = f" (files: {_count_endings(flat.others)})" if flat.others else ""
        raise ValueError(
            f"Expected images ({', '.join(_ENDINGS)}) in {LAYOUTS}. Received: data_dir="
            f"{printable(flat.path)!r}, which holds {found}{others}"
        )
    splits = [name for name in flat.images if name.casefold() in _TRAIN + _VALIDATION]
    nested = set(flat.nested)
    if len(splits) == len(flat.images) or any(
        nested.issuperset(flat.images[each]) for each in splits
    ):
        raise ValueError(
            f"Expected {LAYOUTS}. Received: {printable(flat.path)}, with folders called like "
            f"splits, and no folder `train` of classes: {', '.join(splits)}. Sort images by class."
        )


def _check_classes(train: _ClassFolders, *others: _ClassFolders) -> None:
    """Raises ValueError where a class has no images to train on, warns where none are held out."""
    folders = {
        name: os.path.join(each.path, name)
        for each in (train, *others)
        for name, images in each.images.items()
        if images or each is train
    }
    names = sorted(folders)
    empty = [folders[each] for each in names if not train.images.get(each)]
    if empty:
        left_out = f" (left out are {_count_endings(train.others)})" if train.others else ""
        raise ValueError(
            f"Expected images ({', '.join(_ENDINGS)}) to train on of every class, in "
            f"{printable(train.path)}/CLASS{left_out}. Received none of the class of "
            f"{', '.join(map(printable, empty[:10]))}. Add some, or remove that folder."
        )
    if len(names) < 2:
        raise ValueError(
            f"Expected two classes or more in {printable(train.path)}/CLASS. Received: "
            f"{printable(names[0])}"
        )
    for held_out in others:
        missing = [printable(each) for each in names if not held_out.images.get(each)]
        if missing:
            warnings.warn(
                f"No image of {', '.join(missing[:10])} is held out in {printable(held_out.path)}: "
                "accuracies say nothing of them",
                stacklevel=3,
            )


def _count_endings(paths: list[str]) -> str:
    endings = collections.Counter(os.path.splitext(each)[1].lower() for each in paths)
    counts = [
        f"{count:,} {printable(each) or 'without ending'}" for each, count in endings.most_common(5)
    ]
    return ", ".join(counts)


def _walk(folder: str, above: frozenset = frozenset()) -> Iterator[str]:
    """Yields the paths of all files below a folder; links are followed."""
    folders, files = _list(folder)
    yield from files
    status = os.stat(folder)
    identity = status.st_dev, status.st_ino
    if identity in above:
        raise ValueError(
            f"Expected folders that end. Received: {printable(folder)}, a link to a folder that it "
            "lies in. Remove the link."
        )
    for each in folders:
        yield from _walk(each, above | {identity})


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Returns the paths of the folders, and of the files, in a folder, sorted.

    What is hidden, and what systems leave behind, is passed over.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if not each.name.startswith(".") and each.name.casefold() not in _SYSTEM:
                    (folders if each.is_dir() else files).append(each.path)
    except OSError as error:
        raise ValueError(
            f"Expected folders that can be read. Received: {printable(error.filename or folder)}: "
            f"{error.strerror}"
        ) from error
    return sorted(folders), sorted(files)


def _is_image(path: str) -> bool:
    return path.lower().endswith(_ENDINGS)
