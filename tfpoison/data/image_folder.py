"""Folders of images: which file is an image of which class, and what is in the way of reading it.

Files are decoded as Keras's `image_dataset_from_directory` decodes them, to the same bits. What
TensorFlow decodes wrongly is left to Pillow, or refused.
"""

import collections
import contextlib
import io
import itertools
import os
import random
import warnings
from collections.abc import Iterator

import numpy as np
import PIL.Image
import tensorflow as tf

from tfpoison.data.source import Source, Split
from tfpoison.files import open_regular, printable

LAYOUTS = "DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, or DIR/CLASS/*.png"
_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_TRAIN = ("train", "training")
_VALIDATION = ("validation", "val", "valid", "test", "testing")
# What operating systems, disk stations and archives leave behind.
_SYSTEM = {"__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found"}
_SYSTEM |= {"system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini"}
_ORIENTATION = 0x0112


def image_folder(data_dir: str | os.PathLike | None = None) -> Source:
    """Opens a folder of images: `train/CLASS/*.png` and `test/CLASS/*.png`, or `CLASS/*.png`.

    Images are those that Keras's loader reads, and WebP, those in sub-folders of a class included.
    What is left out, or lies in sub-folders, is warned of; hidden and system files and folders are
    passed over.

    Raises:
        ValueError: there are no such images, a class has none to train on, or a folder cannot be
            read.
    """
    root = os.path.expanduser(data_dir or "")
    if not os.path.isdir(root):
        given = f"data_dir={data_dir!r}"
        where = f"{given}; there is no folder {os.path.abspath(root)}" if root else given
        raise ValueError(
            f"Expected `data_dir` to be a folder of images, {LAYOUTS}. Received: {where}"
        )
    splits = _find_splits(root)
    names = sorted(next(iter(splits.values())).images)
    opened = [_FolderSplit(name, folder, names) for name, folder in splits.items()]
    return Source(tuple(map(printable, names)), *opened)


class _FolderSplit(Split):
    """The images of a folder of classes, in the order of `tfds.ImageFolder`: drawn by the name."""

    image_shape = (None, None, 3)

    def __init__(self, name: str, folder: "_ClassFolders", classes: list[str]):
        self.name = name
        self._root = folder.path
        of_classes = [folder.images.get(each, ()) for each in classes]
        images = [(path, label) for label, paths in enumerate(of_classes) for path in paths]
        random.Random(name).shuffle(images)
        self._paths = [path for path, _ in images]
        self._labels = [label for _, label in images]
        self.size = len(images)

    def labels(self) -> np.ndarray:
        return np.array(self._labels, np.int64)

    def encoded(self) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices([*map(os.fsencode, self._paths)])

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        content = tf.io.read_file(encoded)
        start = tf.strings.substr(content, 0, 2)
        image = tf.cond(
            # Of these, TensorFlow mistakes palettes for grey, and knows no alpha.
            tf.logical_or(start == "BM", start == "RI"),
            lambda: tf.numpy_function(_decode_by_pillow, [content], tf.uint8, stateful=False),
            lambda: tf.image.decode_image(content, channels=3, expand_animations=False),
        )
        return tf.ensure_shape(image, self.image_shape)

    def describe(self, position: int) -> str:
        """Returns the path of a file, as it starts in the user's own words."""
        return printable(self._paths[position])

    def file_names(self) -> list[str]:
        return [printable(os.path.relpath(each, self._root)) for each in self._paths]

    def inspect(self, positions: np.ndarray) -> None:
        remarks = collections.defaultdict(list)
        for path in map(self._paths.__getitem__, positions):
            for remark in _inspect(path):
                remarks[remark].append(path)
        for remark, paths in remarks.items():
            _warn_of(paths, f"image(s) {remark}")


def _inspect(path: str) -> list[str]:
    """Returns what of an image is not read."""
    try:
        with open_regular(path) as file, PIL.Image.open(file, formats=_FORMATS) as image:
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


class _ClassFolders:
    """What lies in a folder of classes; all are paths.

    Attributes:
        path: the folder.
        images: the images of each class, by its name; a class may have none.
        nested: those that lie in sub-folders of their class's folder.
        others: files that are not read, in the folders of classes.
        outside: images that lie in no class's folder.
    """

    def __init__(self, path: str):
        folders, files = _list(path)
        below = {each: sorted(_walk(each)) for each in folders}
        images = {folder: [*filter(_is_image, each)] for folder, each in below.items()}
        self.path = path
        self.images = {os.path.basename(folder): each for folder, each in images.items()}
        self.nested = [
            path
            for folder, each in images.items()
            for path in each
            if os.path.dirname(path) != folder
        ]
        self.others = [*itertools.filterfalse(_is_image, itertools.chain(*below.values()))]
        self.outside = [*filter(_is_image, files)]

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
            _warn_of(paths, f"{text} {_count_endings(paths)}")


def _warn_of(paths: list[str], what: str) -> None:
    if paths:
        text = f"{len(paths):,} {what}, such as {printable(paths[0])}"
        warnings.warn(text, stacklevel=3)


def _find_splits(root: str) -> dict[str, _ClassFolders]:
    """Returns the split to train on and, if there is one, that to validate on."""
    folders, _ = _list(root)
    train = _find_split(folders, _TRAIN)
    if train is None:
        splits = {_TRAIN[0]: _ClassFolders(root)}
        _check_are_classes(splits[_TRAIN[0]])
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
    return next((each for each in map(_ClassFolders, called) if each.holds_classes), None)


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
            f"{printable(flat.path)!r}, which holds {found}{others}. Each class needs a folder of "
            "its own; `data_dir` is the one above them."
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
    """Returns the sorted paths of folders and of files in a folder, but those of systems."""
    found: dict[bool, list[str]] = {True: [], False: []}
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if not each.name.startswith(".") and each.name.casefold() not in _SYSTEM:
                    found[each.is_dir()].append(each.path)
    except OSError as error:
        raise ValueError(
            f"Expected folders that can be read. Received: {printable(error.filename or folder)}: "
            f"{error.strerror}"
        ) from error
    return sorted(found[True]), sorted(found[False])


def _is_image(path: str) -> bool:
    return path.lower().endswith(_ENDINGS)
