"""Measures defenses against attacks: a grid of recipes, scenarios, defenses and trials."""

import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tfpoison.checks import check_name, check_number
from tfpoison.defenses import Defense
from tfpoison.experiment import data as experiment_data
from tfpoison.experiment.clean_networks import NO_DEFENSE, CleanNetworks, TrainingSetup
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.trial import Adversary, Victim, measure_victim
from tfpoison.fitting import optimization
from tfpoison.fitting import stream as fitting
from tfpoison.jobs.report import ReportJob
from tfpoison.jobs.settings import ADVERSARIES
from tfpoison.notes import tell_once
from tfpoison.runs.records import Records
from tfpoison.runs.run_directory import WORK, RunDirectory

_LONGEST_NAME = 150
_MOST = 100_000
_WAIT_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class ExperimentJob:
    """Runs every trial of a grid that is not recorded yet, and reports.

    Several processes may run the same grid on one directory: they share the work. A grid that was
    stopped goes on where it was.

    Attributes:
        setup: how networks are trained.
        attacks: the attacks, one for each recipe and scenario.
        adversaries: `"standard"`: surrogates without a defense; `"adaptive"`: surrogates with the
            defense under test.
        trials: the number of trials.
        victims: the number of victims that are trained on each poisoning.
        seed: of all trials.
        directory: the output directory.
        checkpoint_seconds: the time between two checkpoints.
        verbose: whether it is told what is done.
    """

    setup: TrainingSetup
    attacks: tuple[AttackSettings, ...]
    adversaries: tuple[str, ...]
    trials: int
    victims: int
    seed: int
    directory: RunDirectory
    checkpoint_seconds: float = 300
    verbose: bool = True

    def check(self) -> None:
        """Raises ValueError or TypeError where the grid cannot be run."""
        check_number("trials", self.trials, minimum=1, maximum=_MOST, whole=True)
        check_number("victims", self.victims, minimum=1, maximum=_MOST, whole=True)
        for name, given in [("adversaries", self.adversaries), ("attacks", self.attacks)]:
            if not given:
                raise ValueError(f"Expected at least one of the {name}. Received none.")
        for adversary in self.adversaries:
            check_name("adversary", adversary, ADVERSARIES)
        for defense in self.setup.defenses:
            if len(defense) > _LONGEST_NAME:
                raise ValueError(
                    f"Expected defenses of up to {_LONGEST_NAME} characters: files are named by "
                    "them. Received: "
                    f"{defense}. Give settings that all columns share by --defense_SETTING."
                )
        check_setup(self.setup, self.attacks, range(self.trials))
        if "adaptive" in self.adversaries:
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
        self.directory.check()

    def run(self) -> str:
        """Runs the grid and returns the report's table.

        Raises:
            ValueError: the directory belongs to another grid, or the data do not allow it.
        """
        self.check()
        with self.directory.shared():
            records = Records(self.directory)
            if self._left(records):
                self._run_left(records)
            for victim in self.victims_of_the_grid():
                # What a process has left that was killed right after it had written the record.
                self.directory.folder(WORK).discard(victim.name)
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

    def victims_of_the_grid(self) -> Iterator[Victim]:
        """Yields every victim, trial by trial."""
        for trial in range(self.trials):
            for attack, adversary, defense, victim in itertools.product(
                self.attacks, self.adversaries, self.setup.defenses, range(self.victims)
            ):
                if adversary == "adaptive" and (defense == NO_DEFENSE or not attack.optimised):
                    continue
                yield Victim(attack.recipe, attack.scenario, adversary, defense, trial, victim)

    def _left(self, records: Records) -> list[Victim]:
        names = [field.name for field in dataclasses.fields(Victim)]
        done = {tuple(record[name] for name in names) for record in records.read()}
        return [
            each for each in self.victims_of_the_grid() if dataclasses.astuple(each) not in done
        ]

    def _run_left(self, records: Records) -> None:
        grid = _Grid(self)
        while left := self._left(records):
            idle = True
            for victim in left:
                with self.directory.try_lock(f"victim-{victim.name}") as ours:
                    if not ours or victim not in self._left(records):
                        continue
                    work = self.directory.folder(WORK)
                    record = grid.measure(victim, work.folder(victim.name))
                    records.append(record)
                    work.discard(victim.name)
                    idle = False
                    if self.verbose:
                        print(_describe(record, len(self._left(records))), flush=True)
            if idle:
                tell_once(
                    "waiting for other processes to be done with all that is left in "
                    f"{self.directory.path}"
                )
                time.sleep(_WAIT_SECONDS)


class _Grid:
    """What the trials of a grid have in common."""

    def __init__(self, job: ExperimentJob):
        self._job = job
        self.clean = CleanNetworks.open(
            job.directory,
            job.setup,
            checkpoint_seconds=job.checkpoint_seconds,
            verbose=job.verbose,
        )
        images = self.clean.images
        for attack in job.attacks:
            # Set-ups give every trial a threat of its own; all others are alike.
            for trial in range(job.trials if attack.setups else 1):
                threat = attack.threat_settings(trial)
                threat.check(images.train, images.validation, images.classes)
            attack.trigger(images.image_shape)
        self._adversaries: dict[tuple[str, str, str], Adversary] = {}

    def measure(self, victim: Victim, work: RunDirectory) -> dict[str, Any]:
        adversary = self._adversary(victim)
        poisons = adversary.poisons(victim.trial)
        # The same seed in all columns: victims differ by the defense alone.
        seed = self.clean.seed_of("victim", victim.trial, victim.victim)
        measures = measure_victim(
            self.clean,
            poisons,
            work,
            scenario=victim.scenario,
            defense=victim.defense,
            seed=seed,
            checkpoint_seconds=self._job.checkpoint_seconds,
        )
        names = self.clean.images.class_names
        return dataclasses.asdict(victim) | {
            "trial_key": poisons.threat.key,
            "target_ids": poisons.threat.target_ids[:10].tolist(),
            "targets": len(poisons.threat.target_ids),
            "target_class": names[poisons.threat.target_class],
            "adversarial_class": names[poisons.threat.adversarial_class],
            "poison_count": poisons.size,
            "epsilon": round(poisons.epsilon, 6),
            "success_without_poisons": adversary.success_without_poisons(poisons, victim.defense),
            **measures,
            "seconds": adversary.seconds(victim.trial) | measures["seconds"],
        }

    def _adversary(self, victim: Victim) -> Adversary:
        defense = victim.defense if victim.adversary == "adaptive" else NO_DEFENSE
        key = victim.recipe, victim.scenario, defense
        if key not in self._adversaries:
            attack = next(
                each
                for each in self._job.attacks
                if (each.recipe, each.scenario) == (victim.recipe, victim.scenario)
            )
            self._adversaries[key] = Adversary(
                attack,
                self.clean,
                defense=defense,
                directory=self._job.directory,
                seed=self._job.seed,
                checkpoint_seconds=self._job.checkpoint_seconds,
            )
        return self._adversaries[key]


def check_setup(
    setup: TrainingSetup, attacks: tuple[AttackSettings, ...], trials: Iterable[int]
) -> None:
    """Raises ValueError or TypeError where networks cannot be trained, or attacks made, so."""
    if setup.training.label_smoothing and any(each.optimised for each in attacks):
        raise ValueError(
            "Expected no label_smoothing where poisons are crafted: surrogates are crafted against "
            f"with the plain loss. Received: {setup.training.label_smoothing}"
        )
    for defense in setup.defenses.values():
        optimization.check(setup.training, defense)
        if setup.pretraining is not None:
            pretraining = setup.pretraining.training(setup.training)
            optimization.check(pretraining, defense if setup.pretraining.defended else Defense())
    description = experiment_data.check(setup.data, setup.pretraining)
    fitting.check_data(description, setup.network, setup.defenses.values())
    for attack in attacks:
        if attack.chosen_scenario.pretrained and setup.pretraining is None:
            raise ValueError(
                f"Expected a pretraining for the scenario {attack.scenario!r}: set "
                "--pretraining_source. Received none."
            )
        if description.image_shape is not None:
            attack.trigger(description.image_shape)
        for trial in trials if attack.setups else [0]:
            threat = attack.threat_settings(trial)
            experiment_data.check_threat(threat, setup.pretraining)
            threat.check_description(description)


def _describe(record: dict[str, Any], left: int) -> str:
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
        f"{sum(record['seconds'].values()):.0f} s; {left} left"
    )
