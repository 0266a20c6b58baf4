"""The grid of an experiment: attacks × adversaries × defenses × trials × victims."""

import dataclasses
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any

from tfpoison import expression
from tfpoison.experiment.adversary import Adversary
from tfpoison.experiment.clean_networks import CleanNetworks
from tfpoison.experiment.repairs import NO_REPAIRS, Repairs
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.setup import NO_DEFENSE, Setup
from tfpoison.experiment.victim import Victim, measure_victim
from tfpoison.notes import tell_once
from tfpoison.progress import Progress
from tfpoison.recipes.poisons import Poisons
from tfpoison.runs.record_checks import THREAT, TRAINING, columns_of, outcome_of
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
        victims: the number of victims that are trained on each poisoning.
        share_training: whether all recipes of a scenario share the training.
        repairs: what every victim is repaired by after its training.
    """

    attacks: tuple[AttackSettings, ...]
    adversaries: tuple[str, ...]
    columns: tuple[str, ...]
    trials: int
    victims: int
    share_training: bool = False
    repairs: Repairs = NO_REPAIRS

    @property
    def trainings(self) -> list[tuple[AttackSettings, ...]]:
        """The attacks whose poisons are trained on together."""
        if not self.share_training:
            return [(attack,) for attack in self.attacks]
        scenarios = dict.fromkeys(attack.scenario for attack in self.attacks)
        return [tuple(each for each in self.attacks if each.scenario == name) for name in scenarios]

    def __iter__(self) -> Iterator[Victim]:
        """Yields every victim, trial by trial."""
        for trial in range(self.trials):
            for attacks, adversary, column, victim in itertools.product(
                self.trainings, self.adversaries, self.columns, range(self.victims)
            ):
                optimised = any(attack.optimised for attack in attacks)
                if adversary == "adaptive" and (column == NO_DEFENSE or not optimised):
                    continue
                recipes = "+".join(attack.recipe for attack in attacks)
                yield Victim(recipes, attacks[0].scenario, adversary, column, trial, victim)

    def left(self, records: Records) -> list[Victim]:
        """Returns the victims that are not recorded yet, or not for all of their adversaries.

        Raises:
            ValueError: the records are of trainings with other recipes in them.
        """
        done = {outcome_of(each): each.get(TRAINING, each["recipe"]) for each in records.read()}
        left = []
        for victim in self:
            trained = {done.get(each) for each in self.outcomes(victim)}
            if others := trained - {None, victim.recipe}:
                raise ValueError(
                    f"Expected the recipes of a recorded training, {others.pop()}. Received: "
                    f"{victim.recipe}. Give another output_dir."
                )
            left += [victim] if None in trained else []
        return left

    def outcomes(self, victim: Victim) -> list[tuple]:
        """Returns what each of a victim's records goes by; see `outcome_of`."""
        _, scenario, adversary, defense, *numbers = dataclasses.astuple(victim)
        return [
            (attack.recipe, scenario, adversary, column, *numbers, threat)
            for attack in self.attacks_on(victim)
            for column in columns_of(defense, self.repairs.methods)
            for threat in range(attack.adversaries)
        ]

    def discard_work(self, directory: RunDirectory) -> None:
        """Removes what a process has left that was killed right after it wrote a record."""
        for victim in self:
            directory.folder(WORK).discard(victim.name)

    def attacks_on(self, victim: Victim) -> list[AttackSettings]:
        """Returns the attacks whose victim it is."""
        attacks = {(each.recipe, each.scenario): each for each in self.attacks}
        return [attacks[recipe, victim.scenario] for recipe in expression.split(victim.recipe)]


class GridRunner:
    """Measures the victims of a grid, together with other processes on the same directory.

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
                    measured = self._measure(victim, work.folder(victim.name))
                    # A crash may have left some of a victim's records.
                    recorded = set(map(outcome_of, records.read()))
                    for record in measured:
                        if outcome_of(record) not in recorded:
                            records.append(record)
                    work.discard(victim.name)
                    idle = False
                    done = total - len(self._grid.left(records))
                    progress.tell(done, _describe(victim, measured))
            if idle:
                _tell_of_waiting(left)
                time.sleep(_WAIT_SECONDS)

    def _measure(self, victim: Victim, work: RunDirectory) -> list[dict[str, Any]]:
        """Trains a victim and returns a record for each adversary."""
        those = [(each, n) for each in self._adversaries_of(victim) for n in each.numbers]
        poisons = [each.poisons(victim.trial, number) for each, number in those]
        measured = measure_victim(
            victim,
            self._networks,
            poisons,
            work,
            checkpoint_seconds=self._common["checkpoint_seconds"],
            repairs=self._grid.repairs,
        )
        common = [
            self._same_in_all_columns(victim, each, made)
            for (each, _), made in zip(those, poisons, strict=True)
        ]
        records = []
        for column, measures in measured.items():
            for (each, number), same, of_one in zip(those, common, measures, strict=True):
                seconds = each.seconds(victim.trial, number) | of_one["seconds"]
                record = same | of_one | {"defense": column, "seconds": seconds}
                if len(those) > 1:
                    record |= {TRAINING: victim.recipe, "threats": len(those), THREAT: number}
                records.append(record)
        return records

    def _same_in_all_columns(
        self, victim: Victim, adversary: Adversary, poisons: Poisons
    ) -> dict[str, Any]:
        """Returns what is the same in all columns that come of a victim."""
        threat, names = poisons.threat, self._setup.images.class_names
        return dataclasses.asdict(victim) | {
            "recipe": adversary.settings.recipe,
            "trial_key": threat.key,
            "target_ids": threat.target_ids[:10].tolist(),
            "targets": len(threat.target_ids),
            "target_class": threat.target_name(names),
            "adversarial_class": names[threat.adversarial_class],
            "poison_count": poisons.size,
            "epsilon": round(poisons.epsilon, 6),
            **adversary.without_poisons(poisons, victim.defense),
        }

    def _adversaries_of(self, victim: Victim) -> list[Adversary]:
        column = victim.defense if victim.adversary == "adaptive" else NO_DEFENSE
        adversaries: list[Adversary] = []
        for attack in self._grid.attacks_on(victim):
            key = attack.recipe, victim.scenario, column
            if key not in self._adversaries:
                self._adversaries[key] = Adversary(
                    attack,
                    self._networks,
                    column=column,
                    directory=self._directory,
                    seed=self._seed,
                    earlier=list(adversaries),
                    **self._common,
                )
            adversaries.append(self._adversaries[key])
        return adversaries


def _tell_of_waiting(left: list[Victim]) -> None:
    names = [each.name for each in left[:_MOST_NAMED]]
    more = f" and {len(left) - len(names)} more" if len(left) > len(names) else ""
    tell_once(f"waiting for other processes to be done with {', '.join(names)}{more}")


def _describe(victim: Victim, records: list[dict[str, Any]]) -> str:
    record = records[0]
    success, confidence = (
        statistics.fmean(each[name] or 0 for each in records)
        for name in ("success", "target_confidence")
    )
    if "diverged" in record:
        outcome = f"not counted, it diverged. {record['diverged']}"
    else:
        outcome = (
            f"success {success:.2f}, confidence {confidence:.2f}, "
            f"accuracy {record['clean_accuracy']:.3f}"
        )
    return (
        f"trial {victim.trial}  {victim.recipe}  {victim.scenario}  "
        f"{victim.adversary}  {victim.defense}: {outcome}, "
        f"{sum(record['seconds'].values()):.0f} s"
    )
