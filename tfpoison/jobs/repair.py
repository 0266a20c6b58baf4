"""Takes backdoors out of a network in a file."""

import dataclasses

from tfpoison.fitting.settings import DataSettings
from tfpoison.repairing.page import render
from tfpoison.repairing.repairing import repair
from tfpoison.repairing.scanning import scan
from tfpoison.repairing.settings import RepairSettings, SavedNetwork
from tfpoison.repairing.subject import Subject
from tfpoison.repairing.table import REPAIRS
from tfpoison.runs.run_directory import RunDirectory

NETWORK, PAGE, REPORT = "repaired.keras", "repair.html", "repair.json"


@dataclasses.dataclass(frozen=True)
class RepairJob:
    """Repairs a network with clean images of the validation split, and measures it by the rest.

    Attributes:
        data: which data set.
        saved: the network's file, its pixel range, and how many images are clean.
        repair: the method.
        directory: the output directory.
        seed: that of the repair.
    """

    data: DataSettings
    saved: SavedNetwork
    repair: RepairSettings
    directory: RunDirectory
    seed: int = 0

    def check(self) -> None:
        """Raises ValueError or TypeError where `run` would, before any image is read."""
        self.directory.check()
        REPAIRS.get(self.repair.repair)
        self.saved.check(self.data.check())

    def run(self) -> str:
        """Repairs, and returns the answer.

        Raises:
            ValueError: file and images do not go together, or the method cannot repair the network.
        """
        self.check()
        with self.directory.occupied():
            images, pixels = self.data.load(), self.saved.pixel_range
            clean, others = self.saved.choose(images, self.data.subset_seed)
            given = self.saved.load()
            repaired = repair(
                *(given, clean.images, clean.labels, self.repair.repair),
                pixel_range=pixels,
                seed=self.seed,
            )
            paths = [self.directory.write_network(NETWORK, repaired)]
            both = given, repaired
            before, after = (
                Subject.of(each, others.images, others.labels, pixels).accuracy() for each in both
            )
            scans = [
                scan(each, clean.images, class_names=images.class_names, pixel_range=pixels)
                for each in both
            ]
            answers = [
                f"Repaired by {self.repair.repair} with {clean.size} clean images. Before, it was "
                f"right on {before:.1%} of {others.size} others; now on {after:.1%}.",
                f"Before: {scans[0].answer()}",
                f"Now: {scans[1].answer()}",
            ]
            report = {
                "accuracy_before": before,
                "accuracy_after": after,
                "before": scans[0].report(),
                "after": scans[1].report(),
            }
            page = render(self.directory.path, answers, *scans)
            paths.append(self.directory.write_text(PAGE, page))
            paths.append(self.directory.write_json(REPORT, report))
        return "\n".join([*answers, f"Written: {', '.join(map(str, paths))}"])
