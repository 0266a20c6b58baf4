"""Unlearning: find the trigger, and train on images that carry it under their own labels."""

import dataclasses

import numpy as np

from tfpoison.repairing.base import FineTuned
from tfpoison.repairing.scanning import Scan
from tfpoison.repairing.subject import Subject
from tfpoison.settings import setting


@dataclasses.dataclass(frozen=True)
class Unlearning(FineTuned):
    """Trigger inversion and unlearning (neural cleanse, Wang et al. 2019, IEEE S&P, section VI.C).

    triggers ← inversion for each class; suspects ← classes with an anomaly index above 2
    the network is fine-tuned on clean images, of which `share` carry a suspect's trigger, all with
    their own labels

    Where no class is suspect, the one of the smallest trigger is. The authors train one epoch on a
    tenth of the training set; few images take more.
    """

    share: float = setting(0.2, "The share of a batch that carries a trigger.", above=0, maximum=1)
    steps: int = setting(300, "Steps of each inversion.", minimum=1)

    def repair(self, subject: Subject) -> None:
        """Inverts, and fine-tunes on what was found."""
        scan = Scan.of(subject, self.steps)
        suspects = scan.suspects or [int(np.argmax(scan.indices))]
        triggers, generator = [scan.triggers[each] for each in suspects], subject.generator()
        shares = subject.pixels.to_shares(subject.images).numpy()

        def draw(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            images = shares[positions]
            for each in range(round(self.share * len(images))):
                images[each] = triggers[generator.integers(len(triggers))].put_on(images[each])
            return subject.pixels.from_shares(images).numpy(), subject.labels[positions]

        self.fine_tune(subject, draw=draw)
