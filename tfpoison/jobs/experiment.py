"""Measures defenses against attacks: a grid of recipes, scenarios, defenses and trials."""

import dataclasses
import itertools

from tfpoison.experiment.adversary import check_attacks
from tfpoison.experiment.grid import Grid, GridRunner
from tfpoison.experiment.repairs import Repairs
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.setup import NO_DEFENSE, SetupSettings
from tfpoison.jobs.report import ReportJob
from tfpoison.jobs.settings import AdversarySettings, ExperimentSettings
from tfpoison.notes import tell_once
from tfpoison.runs.records import Records
from tfpoison.runs.run_directory import WORK, RunDirectory

_LONGEST_NAME = 150


@dataclasses.dataclass(frozen=True)
class ExperimentJob:
    """Runs every trial of a grid that is not recorded yet, and reports.

    Several processes may run the same grid on one directory: they share the work. A grid that was
    stopped goes on where it was.
    """

    setup: SetupSettings
    attacks: tuple[AttackSettings, ...]
    adversary: AdversarySettings
    experiment: ExperimentSettings
    seed: int
    directory: RunDirectory
    checkpoint_seconds: float = 300
    verbose: bool = True

    def check(self) -> None:
        """Raises ValueError or TypeError where the grid cannot be run."""
        adversaries = self.adversary.adversaries
        for name, given in [("adversaries", adversaries), ("attacks", self.attacks)]:
            if not given:
                raise ValueError(f"Expected at least one of the {name}. Received none.")
        for defense in self.setup.defenses:
            if len(defense) > _LONGEST_NAME:
                raise ValueError(
                    f"Expected defenses of up to {_LONGEST_NAME} characters: files are named by "
                    "them. Received: "
                    f"{defense}. Give settings that all columns share by --defense_SETTING."
                )
        description = self.setup.check()
        check_attacks(self.attacks, self.setup, description, range(self.experiment.trials))
        self._check_sharing(self._counted_attacks(), description.train_size)
        self._repairs.check(description.validation_size)
        if "adaptive" in adversaries:
            self._check_adaptive()
        self.directory.check()

    @property
    def _repairs(self) -> Repairs:
        return Repairs(self.experiment.repairs, self.experiment.repair_images)

    def _counted_attacks(self) -> tuple[AttackSettings, ...]:
        """Returns the attacks, each with the number of its adversaries.

        Raises:
            ValueError: there are several numbers, but not one for each recipe.
        """
        recipes, numbers = self.adversary.recipes, self.experiment.adversaries_per_trial
        if len(numbers) not in (1, len(recipes)):
            raise ValueError(
                f"Expected adversaries_per_trial to be one number, or one for each of the "
                f"{len(recipes)} recipes. Received: {', '.join(map(str, numbers))}"
            )
        of = dict(zip(recipes, itertools.cycle(numbers), strict=False))
        return tuple(
            dataclasses.replace(each, adversaries=of[each.recipe]) for each in self.attacks
        )

    def _check_sharing(self, attacks: tuple[AttackSettings, ...], train_size: int) -> None:
        """Raises ValueError where adversaries that share a training would share images."""
        if all(each.adversaries == 1 for each in attacks) and not self.experiment.share_training:
            return
        threats = [attack.threat_settings() for attack in attacks]
        if any(attack.setups for attack in attacks) or any(
            each.target_ids or each.poison_ids for each in threats
        ):
            raise ValueError(
                "Expected targets and poisons to be drawn where adversaries share a training. "
                "Received set-ups, target_ids or poison_ids."
            )
        wanted = sum(
            each.adversaries * threat.count_poisons(train_size)
            for each, threat in zip(attacks, threats, strict=True)
        )
        if wanted > train_size:
            raise ValueError(
                f"Expected at most {train_size} poisons, the number of training images, of all "
                f"adversaries of a training. Received: {wanted}"
            )

    def _check_adaptive(self) -> None:
        if set(self.setup.defenses) == {NO_DEFENSE}:
            raise ValueError(
                "Expected a defense for the adaptive adversary to know. Received: "
                "--defenses=none with --adversaries=adaptive"
            )
        if not any(attack.optimised for attack in self.attacks):
            names = ", ".join(attack.recipe for attack in self.attacks)
            raise ValueError(
                "Expected a recipe with surrogates for the adaptive adversary. Received: "
                f"{names} with --adversaries=adaptive"
            )

    def run(self) -> str:
        """Runs the grid and returns the report's table."""
        self.check()
        grid = Grid(
            self._counted_attacks(),
            self.adversary.adversaries,
            tuple(self.setup.defenses),
            self.experiment.trials,
            self.experiment.victims,
            self.experiment.share_training,
            self._repairs,
        )
        with self.directory.shared():
            records = Records(self.directory)
            if grid.left(records):
                GridRunner(
                    grid,
                    self.setup.load(),
                    self.directory,
                    seed=self.seed,
                    checkpoint_seconds=self.checkpoint_seconds,
                    verbose=self.verbose,
                ).run(records)
            grid.discard_work(self.directory)
            self._tell_of_unfinished_work()
            with self.directory.locked("report"):
                return ReportJob(self.directory.path).run()

    def _tell_of_unfinished_work(self) -> None:
        work = self.directory.folder(WORK).path
        folders = {file.relative_to(work).parts[0] for file in work.rglob("*") if file.is_file()}
        if folders:
            tell_once(
                f"{work} holds unfinished work that this grid has no use for, of stopped runs "
                f"unless another process is at it: {', '.join(sorted(folders))}"
            )
