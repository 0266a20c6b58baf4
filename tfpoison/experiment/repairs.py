"""Repairs of a victim after its training, each a column of its own beside the defense's."""

import dataclasses
import time
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from tfpoison.data import Examples, subsets
from tfpoison.evaluation import Predictor
from tfpoison.recipes.poisons import Poisons
from tfpoison.repairing.repairing import repair
from tfpoison.repairing.settings import LEAST_IMAGES
from tfpoison.repairing.table import REPAIRS


@dataclasses.dataclass(frozen=True)
class Repairs:
    """Which repairs each victim gets, and with how many clean images.

    Attributes:
        methods: names of methods, or expressions.
        clean_images: images of the validation split that nobody has tampered with; they measure
            nothing.
    """

    methods: tuple[str, ...] = ()
    clean_images: int = 500

    def check(self, validation_size: int) -> None:
        """Raises ValueError where there is no such method, or are too few images."""
        for method in self.methods:
            REPAIRS.get(method)
        if self.methods and self.clean_images + LEAST_IMAGES > validation_size:
            raise ValueError(
                f"Expected `repair_images` to leave {LEAST_IMAGES} of {validation_size} validation "
                f"images to measure networks by. Received: {self.clean_images}"
            )

    def choose(self, validation: Examples, poisons: Sequence[Poisons], seed: int) -> np.ndarray:
        """Returns the positions of the clean images, drawn at random.

        The adversaries' single targets, those without a trigger, are not among them.
        """
        if not self.methods:
            return np.array([], int)
        threats = [each.threat for each in poisons if each.threat.trigger is None]
        single = [each.target_ids for each in threats]
        free = np.flatnonzero(~np.isin(validation.ids, np.concatenate([[], *single])))
        some = validation.select(free)
        return free[subsets.choose(some, self.clean_images, balanced=False, seed=seed)]

    def repaired(
        self, network: keras.Model, clean: Examples, seed: int
    ) -> Iterator[tuple[Predictor | ValueError, dict[str, float]]]:
        """Yields the network as each method leaves it, or why it cannot; and the seconds it takes.

        What the training has cost is not lost to a method that diverges, or is for other networks.
        """
        images = clean.read(np.arange(clean.size))
        for method in self.methods:
            started = time.monotonic()
            try:
                repaired = repair(network, images, clean.labels, method, seed=seed)
                outcome: Predictor | ValueError = Predictor(repaired)
            except ValueError as error:
                outcome = error
            yield outcome, {"repair": round(time.monotonic() - started, 2)}


NO_REPAIRS = Repairs()
