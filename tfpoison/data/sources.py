"""Where labelled images come from: each source is a TFDS builder."""

import contextlib
import dataclasses
import difflib
import functools
import io
import pathlib
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from tfpoison.data.digits import Digits

DIGITS = "digits"
IMAGE_FOLDER = "image_folder"

_TRAIN = "train"
_VALIDATION = ("validation", "val", "test")
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")
# Always in the same order, whatever the number of processors.
_READ_CONFIG = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)


@dataclasses.dataclass(frozen=True)
class Source:
    """A prepared TFDS data set of labelled images.

    Attributes:
        name: the name that the user gave.
        builder: the TFDS builder.
        keeper: a temporary directory that must last as long as the files are read.
    """

    name: str
    builder: tfds.core.DatasetBuilder
    keeper: tempfile.TemporaryDirectory | None = None

    @property
    def image_feature(self) -> tfds.features.Image:
        """The feature that holds the image."""
        return self.builder.info.features[self.builder.info.supervised_keys[0]]

    @property
    def image_shape(self) -> tuple[int | None, int | None, int | None]:
        """Height, width and channels; None where images differ or it is not known."""
        return tuple(self.image_feature.shape)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.builder.info.features[self.builder.info.supervised_keys[1]].names)

    @property
    def train_split(self) -> str:
        """The name of the split to train on."""
        return _TRAIN

    @property
    def validation_split(self) -> str | None:
        """The name of the split to validate on; None if there is none."""
        return next((each for each in _VALIDATION if each in self.builder.info.splits), None)

    def split_size(self, split: str) -> int:
        """Returns the number of examples of a split."""
        return self.builder.info.splits[split].num_examples

    def encoded(self, split: str) -> tf.data.Dataset:
        """Returns (position int64, compressed image, label int64) of all examples of a split."""
        image = self.builder.info.supervised_keys[0]
        examples = self.builder.as_dataset(
            split=split,
            as_supervised=True,
            shuffle_files=False,
            decoders={image: tfds.decode.SkipDecoding()},
            read_config=_READ_CONFIG,
        )
        return examples.enumerate().map(lambda position, example: (position, *example))

    def decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes a compressed image: uint8, (H, W, C)."""
        return self.image_feature.decode_example(encoded)

    def describe_position(self, split: str, position: int) -> str:
        """Returns how to find an example: its file's name where there is one, else its position."""
        if isinstance(self.builder, tfds.ImageFolder):
            return next(self._file_paths(split).skip(position).as_numpy_iterator()).decode()
        return f"example {position} of the split {split!r}"

    def file_names(self, split: str) -> list[str]:
        """Returns CLASS/FILE of all examples of a split, for a folder of images."""
        paths = (
            pathlib.PurePath(each.decode()) for each in self._file_paths(split).as_numpy_iterator()
        )
        return [f"{path.parent.name}/{path.name}" for path in paths]

    def _file_paths(self, split: str) -> tf.data.Dataset:
        examples = self.builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": tfds.decode.SkipDecoding()},
            read_config=_READ_CONFIG,
        )
        return examples.map(lambda example: example["image/filename"])

    def close(self) -> None:
        """Removes what was written to prepare the data set."""
        if self.keeper is not None:
            self.keeper.cleanup()


def open_source(name: str, data_dir: str | None, download: bool) -> Source:
    """Opens a data set by name; none of its images is read yet.

    Raises:
        ValueError: there is no such data set, or it is not there, or holds no labelled images.
        TypeError: the name is no string.
    """
    if name == DIGITS:
        source = _open_digits(data_dir, download)
    elif name == IMAGE_FOLDER:
        source = _open_image_folder(data_dir, download)
    else:
        source = _open_tfds(name, data_dir, download)
    _check_is_classification(source)
    return source


def _open_digits(data_dir: str | None, download: bool) -> Source:
    if data_dir is not None or download:
        raise ValueError(
            "Expected neither `data_dir` nor `download` for 'digits', which are part of the "
            f"installation. Received: data_dir={data_dir!r}, download={download!r}"
        )
    return Source(DIGITS, _prepare_digits()[0])


@functools.cache
def _prepare_digits() -> tuple[Digits, tempfile.TemporaryDirectory]:
    """Prepares the digits, once for each process: no two are in each other's way.

    Returns:
        The builder, and the directory of its files, which goes when the process ends.
    """
    keeper = tempfile.TemporaryDirectory(prefix="tfpoison_digits_")
    builder = Digits(data_dir=keeper.name)
    tfds.disable_progress_bar()
    try:
        # TFDS prints that it downloads, which it does not.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    return builder, keeper


def _open_image_folder(data_dir: str | None, download: bool) -> Source:
    layouts = "DIR/train/CLASS/*.png and DIR/test/CLASS/*.png, or DIR/CLASS/*.png"
    if data_dir is None or download:
        raise ValueError(
            f"Expected `data_dir` to be a folder of images ({layouts}), and no download, for "
            f"'image_folder'. Received: data_dir={data_dir!r}, download={download!r}"
        )
    root = pathlib.Path(data_dir).expanduser()
    if not root.is_dir():
        raise ValueError(f"Expected `data_dir` to be a folder. Received: data_dir={data_dir!r}")
    if _holds_images(root / _TRAIN, depth=1):
        return Source(IMAGE_FOLDER, tfds.ImageFolder(str(root)))
    if _holds_images(root, depth=1):
        # TFDS wants a folder of splits. A link makes one of the folder of classes.
        keeper = tempfile.TemporaryDirectory(prefix="tfpoison_image_folder_")
        (pathlib.Path(keeper.name) / _TRAIN).symlink_to(root.resolve(), target_is_directory=True)
        return Source(IMAGE_FOLDER, tfds.ImageFolder(keeper.name), keeper)
    found = ", ".join(sorted(each.name for each in root.iterdir())[:10]) or "nothing"
    raise ValueError(
        f"Expected images (jpg, jpeg, png) in {layouts}. Received: data_dir={data_dir!r}, "
        f"which holds {found}"
    )


def _holds_images(folder: pathlib.Path, depth: int) -> bool:
    """Returns whether there are images at this depth below the folder."""
    if not folder.is_dir():
        return False
    if depth == 0:
        return any(each.suffix.lower() in _IMAGE_ENDINGS for each in folder.iterdir())
    return any(_holds_images(each, depth - 1) for each in folder.iterdir())


def _open_tfds(name: str, data_dir: str | None, download: bool) -> Source:
    if not isinstance(name, str):
        raise TypeError(f"Expected the name of a data set to be a string. Received: {name!r}")
    if download and data_dir is None:
        raise ValueError("Expected `data_dir`, the folder to download into. Received: None")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        known = [DIGITS, IMAGE_FOLDER, *tfds.list_builders()]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Unknown data set. Expected {DIGITS!r}, {IMAGE_FOLDER!r} or the name of a data set of "
            f"TensorFlow Datasets (https://www.tensorflow.org/datasets/catalog). "
            f"Received: {name!r}.{hint}"
        ) from error
    except ValueError as error:
        raise ValueError(f"Expected a data set that TFDS can build. {error}") from error
    if not builder.is_prepared():
        if not download:
            raise ValueError(
                f"Expected the data set {name!r} to lie prepared in `data_dir`. Received: "
                f"data_dir={data_dir!r}; there is no {builder.data_dir}. Name the folder that "
                "holds it, or ask for download=True."
            )
        builder.download_and_prepare()
    return Source(name, builder)


def _check_is_classification(source: Source) -> None:
    info = source.builder.info
    keys: Any = info.supervised_keys
    is_pair = isinstance(keys, tuple) and len(keys) == 2 and all(isinstance(k, str) for k in keys)
    if (
        not is_pair
        or not isinstance(info.features[keys[0]], tfds.features.Image)
        or not isinstance(info.features[keys[1]], tfds.features.ClassLabel)
        or info.features[keys[0]].np_dtype != np.uint8
    ):
        features = ", ".join(
            f"{name} ({type(each).__name__})" for name, each in sorted(info.features.items())
        )
        raise ValueError(
            f"Expected a data set for image classification: a supervised pair of an 8-bit Image "
            f"and a ClassLabel. Received: {source.name!r} with supervised_keys={keys}. "
            f"Its features: {features}"
        )
    if _TRAIN not in info.splits:
        raise ValueError(
            f"Expected a data set with a split {_TRAIN!r}. Received: {source.name!r} with the "
            f"splits {', '.join(info.splits)}"
        )
