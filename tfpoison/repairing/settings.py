"""What the jobs of this room are told. Nothing heavy is imported before a network is read."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from tfpoison.settings import Settings, setting

if TYPE_CHECKING:
    import keras

    from tfpoison.data import Description, Examples, ImageClassification

# Fewer say nothing of a network.
LEAST_IMAGES = 10


@dataclasses.dataclass(frozen=True)
class SavedNetwork(Settings):
    """A network in a file, and how it is looked at."""

    model: str | None = setting(
        None, "The file of a trained network, as network.save(FILE.keras) leaves it."
    )
    clean_images: int = setting(
        250, "Images of the validation split to work with; the rest measure.", minimum=LEAST_IMAGES
    )
    pixel_range: tuple[float, float] = setting(
        (0.0, 1.0), "LOW,HIGH of the pixels that the network takes."
    )

    def check(self, description: "Description") -> None:
        """Raises ValueError where there is no such file or range, or are too few images."""
        from tfpoison.pixel_range import PixelRange

        PixelRange(self.pixel_range)
        if self.model is None or not pathlib.Path(self.model).is_file():
            raise ValueError(
                "Expected `model` to be the file of a network, as network.save(FILE.keras) leaves "
                f"it. Received: {self.model}"
            )
        size = description.validation_size
        if self.clean_images + LEAST_IMAGES > size:
            raise ValueError(
                f"Expected `clean_images` to leave {LEAST_IMAGES} of {size} validation images to "
                f"measure the network by. Received: clean_images={self.clean_images}"
            )

    def load(self) -> "keras.Model":
        """Returns the network; ValueError where Keras cannot read the file."""
        import keras

        from tfpoison import files

        assert self.model is not None
        with files.read_back(self.model, "Save the network anew: network.save(FILE.keras)."):
            return keras.models.load_model(self.model, compile=False)

    def choose(self, images: "ImageClassification", seed: int) -> tuple["Examples", "Examples"]:
        """Returns the validation images to work with, drawn at random, and the rest."""
        import numpy as np

        from tfpoison.data import subsets

        every = images.validation
        some = subsets.choose(every, self.clean_images, balanced=False, seed=seed)
        return every.select(some), every.select(np.setdiff1d(np.arange(every.size), some))


@dataclasses.dataclass(frozen=True)
class RepairSettings(Settings):
    """How a network is repaired."""

    repair: str = setting("universal", "A method of repair, with settings as --defense.")
