"""Which images of which data set are wanted; nothing heavy is imported before they are read."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfpoison.checks import check_bool, check_name
from tfpoison.data.table import SOURCES
from tfpoison.settings import Settings, setting

if TYPE_CHECKING:
    import numpy as np

    from tfpoison.data.examples import Examples
    from tfpoison.data.image_classification import Description, ImageClassification
    from tfpoison.data.source import Source

_LONGEST_SIDE = 2**15


@dataclasses.dataclass(frozen=True)
class Selection(Settings):
    """Images of a data set: all of them, or subsets of a size, or those on a keep-list.

        photos = Selection("image_folder", data_dir="photos", image_size=(64, 64))
        photos.check()  # what is known before any image is read
        photos.load()

    Attributes:
        train_ids: ids of images that a subset to train on holds in any case.
        validation_ids: ids of images that a subset to validate on holds in any case.
        whole_split: whether images that are held out for validation, where there is no split for
            it, are in the training set as well: for those who validate nothing. The images to
            validate on are all there are, perhaps none, and are not read before they are used.
    """

    dataset: str = setting(
        "digits", "digits, image_folder, or an image classification data set of TFDS, as cifar10."
    )
    data_dir: str | None = setting(
        None, "The folder of image_folder, or TFDS's folder; unset: ~/tensorflow_datasets."
    )
    download: bool = setting(False, "Let TFDS download what data_dir lacks.")
    image_size: tuple[int, int] | None = setting(
        None,
        "HEIGHT,WIDTH to resize images to; unset: as they are, all alike.",
        minimum=1,
        maximum=_LONGEST_SIDE,
    )
    train_size: int | None = setting(
        None, "Size of a random subset to train on; unset: all.", minimum=1
    )
    validation_size: int | None = setting(
        None, "Size of a random subset to validate on; unset: all.", minimum=1
    )
    balanced: bool = setting(
        False, "Subsets hold as many images of every class, up to one more; unsized: as can be."
    )
    # scikit-learn takes seeds of 32 bits.
    subset_seed: int = setting(
        0,
        "Seed of the subsets, and of the fifth that is held out where no split is for validation.",
        minimum=0,
        maximum=2**32 - 1,
    )
    keep_list: str | None = setting(
        None, "A keep-list of --job=audit: training images that are not on it are left out."
    )
    train_ids: tuple[int, ...] = ()
    validation_ids: tuple[int, ...] = ()
    whole_split: bool = False

    def __post_init__(self) -> None:
        for name in ("data_dir", "keep_list"):
            if isinstance(getattr(self, name), os.PathLike):
                object.__setattr__(self, name, os.fspath(getattr(self, name)))
        super().__post_init__()
        check_bool("whole_split", self.whole_split)

    @functools.cached_property
    def source(self) -> "Source":
        """The whole data set, of which no image is read yet."""
        if self.dataset.partition("(")[0] in SOURCES:
            given = {"data_dir": self.data_dir, "download": self.download}
            given = {name: value for name, value in given.items() if value}
            return SOURCES.get(self.dataset, **given)
        # Their library takes seconds to import.
        from tfpoison.data.tfds_source import tfds_source

        return tfds_source(self.dataset, self.data_dir, self.download)

    def check(self) -> "Description":
        """Returns what is known before reading; raises what `load` would, as far as can be told.

        A data set that `download` asks for is downloaded, since nothing is known of it before.
        """
        from tfpoison.data import loading

        return loading.describe(self)

    def load(self) -> "ImageClassification":
        """Returns the images; see `tfpoison.data.load`."""
        from tfpoison.data import loading

        return loading.read(self)

    def choose(
        self, examples: "Examples", size: int | None, wanted: Sequence[int] = ()
    ) -> "np.ndarray":
        """Returns the positions of a subset as this selection draws them; see `subsets.choose`."""
        from tfpoison.data import subsets

        return subsets.choose(
            examples, size, balanced=self.balanced, seed=self.subset_seed, wanted=wanted
        )

    def kept(self, train: "Examples") -> "Examples":
        """Returns the training images that are on the keep-list; all where there is none."""
        from tfpoison.data.keep_list import KeepList

        return train if self.keep_list is None else KeepList.load(self.keep_list).select(train)


def load(name: str, *, seed: int = 0, **selection: Any) -> "ImageClassification":
    """Loads a data set of labelled images.

        photos = tfpoison.data.load("image_folder", data_dir="photos", image_size=(64, 64))
        photos.train.images, photos.train.labels, photos.class_names

    Args:
        name: `"digits"` (scikit-learn's, part of the installation), `"image_folder"`, a name that
            was registered, or that of an image classification data set of TensorFlow Datasets,
            such as `"cifar10"`. A folder holds `train/CLASS/*.png` and `test/CLASS/*.png` (or
            `validation`, `val`, `valid`), or `CLASS/*.png`: bmp, gif, jpeg, png and webp, grey ones
            become coloured. Of data without a split for validation a fifth is held out.
        seed: the seed of the subsets, and of what is held out.
        **selection: other fields of `Selection`.

    Returns:
        The data set. Splits of up to 2 GiB are held in memory; larger ones are read from disk when
        they are used, and once beforehand, to see that all of their images can be decoded.

    Raises:
        ValueError: a value cannot be, or the data set is not there, is not one of labelled images,
            or has images that cannot be read, have 16 bits a channel or differ in size.
        TypeError: a value is of the wrong type.
    """
    for each in selection:
        check_name(
            "argument of `load`", each, [field.name for field in dataclasses.fields(Selection)]
        )
    return Selection(name, subset_seed=seed, **selection).load()
