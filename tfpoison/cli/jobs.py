"""The jobs: which groups of flags each takes, and how it is made of them."""

import dataclasses
import importlib
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tfpoison import expression, recipes
from tfpoison.checks import check_name
from tfpoison.cli import defense
from tfpoison.cli.flags import CommandLine, flag_names, in_flags
from tfpoison.cli.groups import GROUPS
from tfpoison.experiment.settings import AttackSettings, PretrainingSettings
from tfpoison.fitting.settings import DataSettings
from tfpoison.jobs.settings import AdversarySettings, OutputSettings
from tfpoison.registry import load

if TYPE_CHECKING:
    from tfpoison.experiment.setup import SetupSettings
    from tfpoison.runs.run_directory import RunDirectory

# Flags that change neither the results nor which run a directory belongs to.
_NOT_OF_THE_RUN = ("output_dir", "verbosity", "checkpoint_seconds")
# Flags that name a file to read.
_FILES = ("poisons", "keep_list", "known_poisons", "setups", "trigger_image", "model")
_DATA = ("dataset", "data_dir", "download", "image_size", "validation_size", "subset_seed")
_ATTACKING = ("adversary", "threat", "recipe", "attack", "pretraining")


class Job(Protocol):
    """What can be launched."""

    def check(self) -> None:
        """Raises ValueError or TypeError where the job cannot be done."""

    def run(self) -> str:
        """Does the job and returns what to tell at its end."""


@dataclasses.dataclass(frozen=True)
class JobEntry:
    """A job of the command line.

    Attributes:
        text: what it does.
        kind: its dataclass, as `"module:name"`.
        fields: returns the fields that no flag is named by, of a command line.
        takes: the groups of flags that it takes, and single flags.
        free: flags that a directory may be gone on with other values of: what is recorded stays.
        free_without: flags that are free as well where another, the value, is 0.
        later: flags that may be set when scenarios are added that ask for them.
        latest: flags that may change as well, in place of what was there.
    """

    text: str
    kind: str
    fields: Callable[[CommandLine], dict[str, Any]]
    takes: tuple[str, ...]
    free: tuple[str, ...] = ()
    free_without: Mapping[str, str] = dataclasses.field(default_factory=dict)
    later: tuple[str, ...] = ()
    latest: tuple[str, ...] = ()

    def flags(self) -> dict[str, dict[str, dataclasses.Field]]:
        """Returns the flags that the job takes, by the keys of their groups."""
        taken = {"job", *self.takes}
        table = {
            key: {name: field for name, field in group.flags().items() if taken & {key, name}}
            for key, group in GROUPS.items()
        }
        return {key: flags for key, flags in table.items() if flags}


def make_job(line: CommandLine) -> Job:
    """Returns the job that the flags describe; ValueError or TypeError where there is none such."""
    check_name("job", line["job"], JOBS)
    taken = _taken(line)
    others = [name for group in GROUPS.values() for name in group.flags() if name not in taken]
    line.refuse(others, f"Expected flags of --job={line['job']} alone.")
    line.make(OutputSettings)
    import_plugins(line)
    entry = JOBS[line["job"]]
    fields = entry.fields(line)
    return line.make(load(entry.kind), **fields)


def import_plugins(line: CommandLine) -> None:
    """Imports the modules of `--plugin`, which register parts of one's own."""
    for plugin in line["plugin"] or ():
        # As `python -m` has it, the command finds what lies here as well.
        if (here := str(pathlib.Path.cwd())) not in sys.path:
            sys.path.insert(0, here)
        try:
            importlib.import_module(plugin)
        except ImportError as error:
            raise ValueError(
                "Expected --plugin to name modules that Python can import from here. Received: "
                f"{plugin}. {error}"
            ) from error


def _taken(line: CommandLine) -> set[str]:
    return {name for flags in JOBS[line["job"]].flags().values() for name in flags}


def configuration(line: CommandLine) -> dict[str, str]:
    """Returns the job's flags that are set and change the results, as they stand in a flagfile."""
    names = _taken(line).difference(_NOT_OF_THE_RUN)
    if line["job"] == "train" and not defense.crafts(line["defense"]):
        names = {name for name in names if not name.startswith("defense_")}
    values = {name: line[name] for name in sorted(names) if line[name] is not None}
    return {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
    }


def _train(line: CommandLine) -> dict[str, Any]:
    given = {"defense": defense.of_training(line), "defense_name": line["defense"]}
    return given | _output(line)


def _output(line: CommandLine) -> dict[str, Any]:
    return {"directory": _directory(line), "verbose": line["verbosity"] >= 0}


def _directory(line: CommandLine) -> "RunDirectory":
    from tfpoison.runs.run_directory import RunDirectory

    if line["output_dir"] is None:
        raise ValueError("Expected --output_dir, the directory for the results. Received none.")
    entry = JOBS[line["job"]]
    return RunDirectory(
        pathlib.Path(line["output_dir"]),
        configuration(line),
        free=(
            *entry.free,
            *(each for each, other in entry.free_without.items() if not line[other]),
        ),
        latest=entry.latest,
        later=entry.later,
        files=_FILES,
    )


def _benchmark(line: CommandLine) -> dict[str, Any]:
    directory = None if line["output_dir"] is None else _directory(line)
    return {"poison_fraction": line["defense_poison_fraction"], "directory": directory}


def _experiment(line: CommandLine) -> dict[str, Any]:
    setup = _setup_settings(line, ["none", *line["defenses"]])
    return {"setup": setup, "attacks": _attacks(line), **_output(line)}


def _brew(line: CommandLine) -> dict[str, Any]:
    for name in ("recipes", "scenarios", "adversaries"):
        if len(line[name]) != 1:
            raise ValueError(f"Expected one of --{name} to brew. Received: {','.join(line[name])}")
    adaptive = line["adversaries"] == ("adaptive",)
    columns = ["none", line["defense_attack"]] if adaptive else ["none"]
    setup, (attack,) = _setup_settings(line, columns), _attacks(line)
    return {"setup": setup, "attack": attack, "defense": columns[-1], **_output(line)}


def _report(line: CommandLine) -> dict[str, Any]:
    return {"directory": _directory(line).path}


def _audit(line: CommandLine) -> dict[str, Any]:
    from tfpoison.auditing.auditor import Auditor

    return {"auditor": line.make(Auditor, **_output(line))}


def _of_saved_network(line: CommandLine) -> dict[str, Any]:
    return {"directory": _directory(line)}


def _setup_settings(line: CommandLine, columns: Sequence[str]) -> "SetupSettings":
    """Returns how networks are trained, for columns of defenses."""
    from tfpoison.experiment.setup import SetupSettings

    # Images that are named are there, whichever others a subset holds.
    named = {"train_ids": line["poison_ids"] or (), "validation_ids": line["target_ids"] or ()}
    return line.make(
        SetupSettings,
        data=line.make(DataSettings, **named),
        pretraining=_pretraining(line),
        defenses=defense.of_columns(line, list(dict.fromkeys(columns))),
    )


def _pretraining(line: CommandLine) -> PretrainingSettings | None:
    from tfpoison.recipes import scenario

    needed = any(scenario.get(name).pretrained for name in line["scenarios"])
    if line["pretraining_source"] is not None and needed:
        return line.make(PretrainingSettings)
    line.refuse(
        GROUPS["pretraining"].flags(),
        "Expected flags of a pretraining with --pretraining_source, and a scenario that needs one.",
    )
    return None


def _attacks(line: CommandLine) -> tuple[AttackSettings, ...]:
    """Returns the attacks, one for each recipe and scenario."""
    from tfpoison.recipes import benchmark_setups

    line.make(AdversarySettings)
    known = {}
    for recipe in line["recipes"]:
        name, own = expression.parse(recipe)
        # What stands in an expression has the last word.
        known[recipe] = recipes.settings(name).keys() - own.keys()
    _check_threat_flags(line)
    given, names = line.given("recipe"), flag_names("recipe", "threat", "attack")
    useless = [names[each] for each in given.keys() - set().union(*known.values())]
    line.refuse(sorted(useless), f"Expected flags that the recipes {', '.join(known)} have.")
    setups = () if line["setups"] is None else benchmark_setups.read(line["setups"])
    with in_flags(names):
        return tuple(
            line.make(
                AttackSettings,
                recipe=recipe,
                recipe_settings={name: given[name] for name in given if name in settings},
                scenario=each,
                threat=line.given("threat"),
                setups=setups,
            )
            for recipe, settings in known.items()
            for each in dict.fromkeys(line["scenarios"])
        )


def _check_threat_flags(line: CommandLine) -> None:
    """Raises ValueError where a flag of the threat would make no difference."""
    chosen = [recipes.get(name) for name in line["recipes"]]
    triggered = [each for each in chosen if each.triggered]
    used = {name for each in triggered for name in each.trigger_settings}
    flags = {"size": "trigger_size", "place": "trigger_place", "pattern": "trigger_image"}
    if not triggered:
        of_triggers = (*flags.values(), "trigger_sources", "all_to_one")
        line.refuse(of_triggers, "Expected no flags that no recipe without a trigger has.")
    line.refuse(
        [flag for setting, flag in flags.items() if setting not in used],
        f"Expected flags that the triggers of {', '.join(line['recipes'])} have.",
    )
    if len(triggered) == len(chosen):
        line.refuse(
            ("targets", "target_ids"),
            "Expected no flags that recipes with a trigger, whose targets are all source images, "
            "do not have.",
        )
    of_setups = ("budget", "target_class", "adversarial_class", "target_ids", "poison_ids")
    line.refuse(
        ("setups_in_original_order",) if line["setups"] is None else of_setups,
        "Expected no flags that a set-up does not say already.",
    )
    if line["poison_ids"]:
        line.refuse(("budget", "poison_selection"), "Expected no flags beside poison_ids.")


JOBS = {
    "train": JobEntry(
        "trains a network, defended or not, on clean data or on a file of --poisons",
        "tfpoison.jobs.train:TrainJob",
        _train,
        (
            *("data", "poisons", "keep_list", "network", "training", "defense"),
            *("attack in the step", "crafting", "attack's settings", "distribution", "matching"),
            "output",
        ),
    ),
    "brew": JobEntry(
        "makes poisons: one file, or a data set in forms that other tools read",
        "tfpoison.jobs.brew:BrewJob",
        _brew,
        (
            *("data", "keep_list", "network", "training", *_ATTACKING, "brewing"),
            *("attack in the step", "crafting", "attack's settings", "output"),
        ),
        free=("export",),
    ),
    "experiment": JobEntry(
        "measures defenses against attacks over many trials; processes share the work",
        "tfpoison.jobs.experiment:ExperimentJob",
        _experiment,
        (
            *("data", "keep_list", "network", "training", *_ATTACKING, "experiment"),
            *("crafting", "attack's settings", "output"),
        ),
        free=("trials", "victims", "recipes", "scenarios", "adversaries", "repairs"),
        # Targets are drawn among the images that the clean networks of all columns know.
        free_without={"defenses": "clean_networks"},
        # Not the classes of the pretraining: the experiment does without them.
        later=tuple(
            name for name in GROUPS["pretraining"].flags() if name != "pretraining_classes"
        ),
    ),
    "report": JobEntry(
        "tables, figures and one page from an experiment's records",
        "tfpoison.jobs.report:ReportJob",
        _report,
        ("output_dir", "verbosity"),
    ),
    "audit": JobEntry(
        "looks for poisons in a data set: suspects of several filters, a keep-list",
        "tfpoison.jobs.audit:AuditJob",
        _audit,
        ("data", "poisons", "network", "training", "audit", "output"),
        latest=("filters", "agreement", "known_poisons"),
    ),
    "scan": JobEntry(
        "says whether a trained network has a backdoor, by the trigger each class would need",
        "tfpoison.jobs.scan:ScanJob",
        _of_saved_network,
        (*_DATA, "saved network", "output_dir", "verbosity"),
    ),
    "repair": JobEntry(
        "takes backdoors out of a trained network, with few clean images",
        "tfpoison.jobs.repair:RepairJob",
        _of_saved_network,
        (*_DATA, "saved network", "repair", "seed", "output_dir", "verbosity"),
    ),
    "benchmark": JobEntry(
        "measures what a defended step costs",
        "tfpoison.jobs.benchmark:BenchmarkJob",
        _benchmark,
        (
            *("network", "benchmark", "output"),
            *("batch_size", "jit_compile", "defense_poison_fraction"),
        ),
    ),
}
