"""Says whether a network in a file has a backdoor."""

import dataclasses

from tfpoison.fitting.settings import DataSettings
from tfpoison.repairing.scanning import REPORT, scan
from tfpoison.repairing.settings import SavedNetwork
from tfpoison.runs.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class ScanJob:
    """Inverts the trigger of every class of a network, on clean images of the validation split.

    Attributes:
        data: which data set.
        saved: the network's file, its pixel range, and how many images are looked at.
        directory: the output directory.
    """

    data: DataSettings
    saved: SavedNetwork
    directory: RunDirectory

    def check(self) -> None:
        """Raises ValueError or TypeError where `run` would, before any image is read."""
        self.directory.check()
        self.saved.check(self.data.check())

    def run(self) -> str:
        """Scans, and returns the answer; ValueError where file and images do not go together."""
        self.check()
        with self.directory.occupied():
            images = self.data.load()
            clean, _ = self.saved.choose(images, self.data.subset_seed)
            found = scan(
                self.saved.load(),
                clean.images,
                class_names=images.class_names,
                pixel_range=self.saved.pixel_range,
            )
            path = found.save(self.directory.path)
        return f"{found.answer()}\nWritten: {path}, {path.with_name(REPORT)}"
