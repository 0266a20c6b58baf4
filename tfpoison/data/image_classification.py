"""A data set of labelled images: two splits, and what they have in common."""

import dataclasses

from tfpoison.data.examples import Examples


@dataclasses.dataclass(frozen=True)
class Description:
    """What is known of a data set before any image is read.

    Attributes:
        image_shape: height, width and channels; None where only the images can tell.
        train_size: the number of examples to train on.
        validation_size: the number of examples to validate on.
        train_ids: how many ids the training split has, from 0, whatever is chosen of it.
        validation_ids: how many ids the split has that is validated on.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int] | None
    train_size: int
    validation_size: int
    train_ids: int
    validation_ids: int

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)


@dataclasses.dataclass(frozen=True)
class ImageClassification:
    """A data set of labelled images: examples to train on, and others to validate on."""

    name: str
    class_names: tuple[str, ...]
    train: Examples
    validation: Examples

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.train.image_shape

    @property
    def description(self) -> Description:
        """What was to be known of it, all of it known by now."""
        ids = (int(split.ids.max(initial=-1)) + 1 for split in (self.train, self.validation))
        sizes = self.train.size, self.validation.size
        return Description(self.name, self.class_names, self.image_shape, *sizes, *ids)
