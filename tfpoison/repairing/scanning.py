"""Whether a network has a backdoor: triggers inverted for every class, and which stand out."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np

from tfpoison.repairing.inversion import Inversion, InvertedTrigger
from tfpoison.repairing.page import render
from tfpoison.repairing.subject import Subject
from tfpoison.runs.run_directory import RunDirectory

# A class is suspect above this index (neural cleanse), where its trigger is also below this share
# of the median size.
SUSPICIOUS = 2.0
# The median absolute deviation times this estimates the deviation of a normal distribution.
_TO_DEVIATION = 1.4826
SMALL = 0.6
# The median of fewer sizes says nothing.
LEAST_CLASSES = 5
PAGE, REPORT = "scan.html", "scan.json"
# As measured on the embedded digits: docs/guides/defenses.md.
FALSE_ALARMS = (
    "of 14 clean convolutional networks on digits none stood out so, which leaves up to 19 % false "
    "alarms at 95 % confidence"
)
MISSED = (
    "of 12 backdoored networks on digits 8 were found, and none of the 4 whose trigger, a "
    "clean-label patch, covers a third of the image"
)


def scan(
    network: keras.Model,
    images: np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    pixel_range: Any = (0.0, 1.0),
    steps: int = 300,
) -> "Scan":
    """Looks for a backdoor in a trained network, by the trigger that each class would need.

    ```python
    scan = tfpoison.scan(network, images)
    print(scan.answer())
    scan.save("scan")  # A page with the inverted triggers.
    ```

    Args:
        network: from images in the pixel range to logits or probabilities, (n, classes), best
            of five classes or more.
        images: clean ones, some 100, of all classes; their labels are not needed. (n, height,
            width, channels), uint8 in 0–255, or floats in the network's pixel range.
        class_names: the names of the classes; None for their numbers.
        pixel_range: (low, high), the range of pixels that the network takes, as numbers or with one
            for each channel.
        steps: of the inversion of each trigger.

    Raises:
        TypeError, ValueError: an argument is something else than is said here.
    """
    subject = Subject.of(network, images, None, pixel_range)
    return Scan.of(subject, steps, class_names)


@dataclasses.dataclass(frozen=True)
class Scan:
    """What inversion makes of a network.

    Attributes:
        triggers: the inverted trigger of each class.
        class_names: the names of the classes.
    """

    triggers: Sequence[InvertedTrigger]
    class_names: Sequence[str]

    @classmethod
    def of(cls, subject: Subject, steps: int, class_names: Sequence[str] | None = None) -> Self:
        """Scans what `Subject.of` has looked at; ValueError where there are not as many names."""
        names = class_names or [str(each) for each in range(subject.classes)]
        if len(names) != subject.classes:
            raise ValueError(
                f"Expected a name for each of the network's {subject.classes} classes. Received: "
                f"{len(names)} names"
            )
        return cls(Inversion(subject, steps).all(), names)

    @functools.cached_property
    def sizes(self) -> np.ndarray:
        """The size of each class's trigger in pixels, (classes,)."""
        return np.array([each.size for each in self.triggers])

    @functools.cached_property
    def indices(self) -> np.ndarray:
        """The anomaly index of each class: how far its trigger's size is below the median.

        In deviations, as the median absolute deviation estimates them; (classes,).
        """
        return anomaly_indices(self.sizes)

    @functools.cached_property
    def ratios(self) -> np.ndarray:
        """The size of each class's trigger over the median of all, (classes,)."""
        return self.sizes / max(np.median(self.sizes), np.finfo(float).tiny)

    @property
    def suspects(self) -> list[int]:
        """The classes that stand out, most suspicious first; none of fewer than five classes.

        Those with an index above 2 whose trigger is smaller than 0.6 of the median. Of ten classes
        of a clean network one is often above 2, as ten sizes estimate their deviation badly.
        """
        if len(self.triggers) < LEAST_CLASSES:
            return []
        stand_out = (self.indices > SUSPICIOUS) & (self.ratios < SMALL)
        return [int(each) for each in np.argsort(-self.indices, kind="stable") if stand_out[each]]

    def answer(self) -> str:
        """Returns in a sentence whether the network has a backdoor, and how sure that is."""
        if len(self.triggers) < LEAST_CLASSES:
            return (
                f"No answer: a scan tells the class that stands out, and {len(self.triggers)} "
                "classes are too few to compare."
            )
        if not self.suspects:
            return f"No class stands out, which does not clear the network: {MISSED}."
        names = ", ".join(
            f"{self.class_names[each]} ({self.sizes[each]:.3g} pixels of its images turn others, "
            f"{self.ratios[each]:.2f} of the median; anomaly index {self.indices[each]:.1f})"
            for each in self.suspects
        )
        return f"Probably a backdoor to {names}: {FALSE_ALARMS}."

    def report(self) -> dict[str, Any]:
        """Returns the figures, as JSON can hold them."""
        columns = {
            "size": self.sizes,
            "of_the_median": self.ratios,
            "anomaly_index": self.indices,
            "success": np.array([each.success for each in self.triggers]),
        }
        rounded = {name: [round(float(each), 6) for each in some] for name, some in columns.items()}
        return {
            "suspects": [self.class_names[each] for each in self.suspects],
            "classes": list(self.class_names),
            **rounded,
        }

    def save(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes a page with the inverted triggers and the figures, and returns the page's path.

        Args:
            folder: is made if it is not there.
        """
        directory = RunDirectory(pathlib.Path(folder), {})
        directory.path.mkdir(parents=True, exist_ok=True)
        page = directory.write_text(PAGE, render(directory.path, [self.answer()], self))
        directory.write_json(REPORT, self.report())
        return page


def anomaly_indices(sizes: np.ndarray) -> np.ndarray:
    """Returns how many deviations each size is below the median, (n,) → (n,)."""
    below = np.median(sizes) - sizes
    deviation = _TO_DEVIATION * np.median(np.abs(below))
    return below / max(deviation, np.finfo(float).tiny)
