"""The grid of an experiment: attacks × adversaries × defenses × trials × victims."""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from typing import Any

from tfpoison.experiment.adversary import Adversary
from tfpoison.experiment.clean_networks import CleanNetworks
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.setup import NO_DEFENSE, Setup
from tfpoison.experiment.victim import Victim, measure_victim
from tfpoison.notes import tell_once
from tfpoison.progress import Progress
from tfpoison.runs.records import Records
from tfpoison.runs.run_directory import WORK, RunDirectory

_WAIT_SECONDS = 2.0
_MOST_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Grid:
    """Which victims are measured.

    Attributes:
        attacks: the attacks, one for each recipe and scenario.
        adversaries: `"standard"`: surrogates without a defense; `"adaptive"`: surrogates with the
            defense under test.
        columns: the names of the defenses.
        trials: the number of trials.
        victims: the number of victims that are trained on each poisoning.
    """

    attacks: tuple[AttackSettings, ...]
    adversaries: tuple[str, ...]
    columns: tuple[str, ...]
    trials: int
    victims: int

    def __iter__(self) -> Iterator[Victim]:
        """Yields every victim, trial by trial."""
        for trial in range(self.trials):
            for attack, adversary, column, victim in itertools.product(
                self.attacks, self.adversaries, self.columns, range(self.victims)
            ):
                if adversary == "adaptive" and (column == NO_DEFENSE or not attack.optimised):
                    continue
                yield Victim(attack.recipe, attack.scenario, adversary, column, trial, victim)

    def left(self, records: Records) -> list[Victim]:
        """Returns the victims that are not recorded yet."""
        names = [field.name for field in dataclasses.fields(Victim)]
        done = {tuple(record[name] for name in names) for record in records.read()}
        return [each for each in self if dataclasses.astuple(each) not in done]

    def discard_work(self, directory: RunDirectory) -> None:
        """Removes what a process has left that was killed right after it wrote a record."""
        for victim in self:
            directory.folder(WORK).discard(victim.name)

    def attack_on(self, victim: Victim) -> AttackSettings:
        """Returns the attack whose victim it is."""
        (attack,) = (
            each
            for each in self.attacks
            if (each.recipe, each.scenario) == (victim.recipe, victim.scenario)
        )
        return attack


class GridRunner:
    """Measures the victims of a grid, together with other processes on the same directory.

    Args:
        grid: the grid.
        setup: the images, and how networks are trained.
        directory: where everything is kept.
        seed: of all trials.
        checkpoint_seconds: the time between two checkpoints.
        verbose: whether it is told what is done, and how long the rest takes.

    Raises:
        ValueError: the data do not allow a threat.
    """

    def __init__(
        self,
        grid: Grid,
        setup: Setup,
        directory: RunDirectory,
        *,
        seed: int,
        checkpoint_seconds: float = 300,
        verbose: bool = True,
    ):
        images = setup.images
        for attack in grid.attacks:
            # Set-ups give every trial a threat of its own; all others are alike.
            for trial in range(grid.trials if attack.setups else 1):
                threat = attack.threat_settings(trial)
                threat.check(images.train, images.validation, images.classes)
            attack.trigger(images.image_shape)
        self._grid, self._setup, self._directory, self._seed = grid, setup, directory, seed
        self._common: dict[str, Any] = {
            "checkpoint_seconds": checkpoint_seconds,
            "verbose": verbose,
        }
        self._networks = CleanNetworks(directory, setup, **self._common)
        self._adversaries: dict[tuple[str, str, str], Adversary] = {}

    def run(self, records: Records) -> None:
        """Measures every victim that is not recorded yet, and records it."""
        work, left = self._directory.folder(WORK), self._grid.left(records)
        total = sum(1 for _ in self._grid)
        verbose = self._common["verbose"]
        progress = Progress("victims", total, done=total - len(left), verbose=verbose)
        while left := self._grid.left(records):
            idle = True
            for victim in left:
                with self._directory.try_lock(f"victim-{victim.name}") as ours:
                    if not ours or victim not in self._grid.left(records):
                        continue
                    record = self._measure(victim, work.folder(victim.name))
                    records.append(record)
                    work.discard(victim.name)
                    idle = False
                    done = total - len(self._grid.left(records))
                    progress.tell(done, _describe(record))
            if idle:
                _tell_of_waiting(left)
                time.sleep(_WAIT_SECONDS)

    def _measure(self, victim: Victim, work: RunDirectory) -> dict[str, Any]:
        adversary = self._adversary(victim)
        poisons = adversary.poisons(victim.trial)
        seconds = self._common["checkpoint_seconds"]
        measures = measure_victim(victim, self._networks, poisons, work, checkpoint_seconds=seconds)
        threat, names = poisons.threat, self._setup.images.class_names
        return dataclasses.asdict(victim) | {
            "trial_key": threat.key,
            "target_ids": threat.target_ids[:10].tolist(),
            "targets": len(threat.target_ids),
            "target_class": names[threat.target_class],
            "adversarial_class": names[threat.adversarial_class],
            "poison_count": poisons.size,
            "epsilon": round(poisons.epsilon, 6),
            "success_without_poisons": adversary.success_without_poisons(poisons, victim.defense),
            **measures,
            "seconds": adversary.seconds(victim.trial) | measures["seconds"],
        }

    def _adversary(self, victim: Victim) -> Adversary:
        column = victim.defense if victim.adversary == "adaptive" else NO_DEFENSE
        key = victim.recipe, victim.scenario, column
        if key not in self._adversaries:
            self._adversaries[key] = Adversary(
                self._grid.attack_on(victim),
                self._networks,
                column=column,
                directory=self._directory,
                seed=self._seed,
                **self._common,
            )
        return self._adversaries[key]


def _tell_of_waiting(left: list[Victim]) -> None:
    names = [each.name for each in left[:_MOST_NAMED]]
    more = f" and {len(left) - len(names)} more" if len(left) > len(names) else ""
    tell_once(f"waiting for other processes to be done with {', '.join(names)}{more}")


def _describe(record: dict[str, Any]) -> str:
    if "diverged" in record:
        outcome = f"not counted, it diverged. {record['diverged']}"
    else:
        outcome = (
            f"success {record['success']:.2f}, confidence {record['target_confidence']:.2f}, "
            f"accuracy {record['clean_accuracy']:.3f}"
        )
    return (
        f"trial {record['trial']}  {record['recipe']}  {record['scenario']}  "
        f"{record['adversary']}  {record['defense']}: {outcome}, "
        f"{sum(record['seconds'].values()):.0f} s"
    )
