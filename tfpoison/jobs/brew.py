"""Makes the poisons of one trial, in one file and in the forms that other tools read."""

import dataclasses
from typing import Any

import numpy as np

from tfpoison.data import ImageClassification
from tfpoison.experiment.adversary import Adversary, check_attacks
from tfpoison.experiment.clean_networks import CleanNetworks
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.setup import SetupSettings
from tfpoison.jobs.settings import BrewingSettings
from tfpoison.notes import share_of_range
from tfpoison.recipes import Poisons, exports
from tfpoison.runs.run_directory import RunDirectory

POISONS = "poisons.npz"


@dataclasses.dataclass(frozen=True)
class BrewJob:
    """Brews the poisons of one trial, by surrogates trained with the defense of that column."""

    setup: SetupSettings
    attack: AttackSettings
    defense: str
    brewing: BrewingSettings
    seed: int
    directory: RunDirectory
    checkpoint_seconds: float = 300
    verbose: bool = True

    def check(self) -> None:
        """Raises ValueError or TypeError where the poisons cannot be brewed."""
        trials = range(self.brewing.trial, self.brewing.trial + 1)
        check_attacks((self.attack,), self.setup, self.setup.check(), trials)
        self.directory.check()

    def run(self) -> str:
        """Brews, and returns what to tell."""
        self.check()
        with self.directory.occupied():
            common: dict[str, Any] = {
                "checkpoint_seconds": self.checkpoint_seconds,
                "verbose": self.verbose,
            }
            networks = CleanNetworks(self.directory, self.setup.load(), **common)
            images = networks.setup.images
            threat = self.attack.threat_settings(self.brewing.trial)
            threat.check(images.train, images.validation, images.classes)
            adversary = Adversary(
                self.attack,
                networks,
                column=self.defense,
                directory=self.directory,
                seed=self.seed,
                **common,
            )
            poisons = adversary.poisons(self.brewing.trial)
            poisons.save(self.directory.path / POISONS)
            folders = [
                exports.export(name, poisons, images, self.directory.path)
                for name in self.brewing.export
            ]
            return _describe(poisons, images, [self.directory.path / POISONS, *folders])


def _describe(poisons: Poisons, images: ImageClassification, paths: list) -> str:
    threat, names = poisons.threat, images.class_names
    several = len(threat.target_ids) > 5
    targets = f"{len(threat.target_ids)} images" if several else threat.target_ids.tolist()
    objective = poisons.settings["objective_of_each_restart"]
    lines = [
        "",
        f"{poisons.settings['recipe']}, trial key {threat.key}: targets {targets} of the class "
        f"{threat.target_name(names)} are to be called {names[threat.adversarial_class]}",
        f"{poisons.size} of {images.train.size} training images are poisons, changed by up to "
        f"{share_of_range(poisons.epsilon)} of the pixel range",
    ]
    if objective:
        # JSON has no NaN: None stands for it.
        best = np.nanmin(np.array(objective, float))
        lines.append(f"objective {best:.4f}, the best of {len(objective)} restart(s)")
    lines += ["", "Written:", *(f"  {path}" for path in paths)]
    return "\n".join(lines)
