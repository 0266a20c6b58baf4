"""`python -m tfpoison.launch --flagfile=flags/NAME.flags`: flags → configuration → job.

The only file that knows absl.
"""

import dataclasses
import logging as std_logging
import pathlib
import re
import sys
import textwrap
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from absl import flags, logging

from tfpoison import (
    attacks,
    data,
    defenses,
    distribution,
    failures,
    networks,
    process,
    recipes,
)
from tfpoison.batch import TARGET_SELECTIONS
from tfpoison.checks import check_name, check_number
from tfpoison.defenses import Defense, Filter, filters
from tfpoison.distribution import MATCHING
from tfpoison.experiment.clean_networks import TrainingSetup
from tfpoison.experiment.settings import PRETRAINING_SOURCES, AttackSettings, PretrainingSettings
from tfpoison.fitting.optimization import OPTIMIZERS
from tfpoison.fitting.settings import (
    DECOUPLED_DECAY,
    SCHEDULES,
    DataSettings,
    NetworkSettings,
    TrainingSettings,
)
from tfpoison.jobs.audit import AuditJob
from tfpoison.jobs.benchmark import BenchmarkJob
from tfpoison.jobs.brew import BrewJob
from tfpoison.jobs.experiment import ADVERSARIES, ExperimentJob
from tfpoison.jobs.report import ReportJob
from tfpoison.jobs.train import TrainJob
from tfpoison.perturbations import INITIALIZERS
from tfpoison.perturbations import OPTIMIZERS as PERTURBATION_OPTIMIZERS
from tfpoison.perturbations.patch import PLACES as TRIGGER_PLACES
from tfpoison.recipes import benchmark_setups, exports, scenario
from tfpoison.recipes.target_loss import TARGET_LOSSES
from tfpoison.recipes.threat import SELECTIONS, THREAT_MODELS
from tfpoison.runs.run_directory import RunDirectory, read_flag_lines

DONE = 0
# Flags that change neither the results nor which run a directory belongs to.
_NOT_OF_THE_RUN = ("output_dir", "verbosity", "checkpoint_seconds", "help")
# What a directory may be gone on with: what is recorded stays.
_EXTENDABLE = {
    "experiment": ("trials", "victims", "recipes", "scenarios", "adversaries"),
    "brew": ("export",),
}
# What may be set when scenarios are added that ask for it. Not the classes of the pretraining: the
# experiment does without them.
_LATER = {
    "experiment": (
        *("pretraining_source", "pretraining_size", "pretraining_dataset", "pretraining_data_dir"),
        *("pretraining_epochs", "pretraining_learning_rate", "pretraining_milestones"),
        "defended_pretraining",
    )
}
# What it may be gone on with as well, in place of what was there.
_LATEST = {"audit": ("filters", "agreement", "known_poisons")}
# Flags that name a file to read.
_FILES = ("poisons", "keep_list", "known_poisons", "setups", "trigger_image")
_ATTACK_SETTINGS = ("epsilon", "steps", "step_size", "optimizer", "initializer", "patch_size")


Groups = dict[str, list[str]]


class Job(Protocol):
    """What can be launched."""

    def check(self) -> None:
        """Raises ValueError or TypeError where the job cannot be done."""

    def run(self) -> str:
        """Does the job and returns what to tell at its end."""


def define_flags() -> tuple[flags.FlagValues, Groups]:
    """Returns all flags, and their names in groups."""
    values = flags.FlagValues()
    groups: Groups = {}

    def define(group: str, kind: str, name: str, default: Any, text: str, **more: Any) -> None:
        getattr(flags, f"DEFINE_{kind}")(name, default, text, flag_values=values, **more)
        groups.setdefault(group, []).append(name)

    def number(group: str, name: str, default: float | None, text: str) -> None:
        define(group, "float", name, default, text)

    def whole(group: str, name: str, default: int | None, text: str) -> None:
        define(group, "integer", name, default, text)

    def one_of(group: str, name: str, default: str | None, text: str, known: Sequence[str]) -> None:
        define(group, "string", name, default, f"{text} One of: {', '.join(known)}.")

    one_of("Job", "job", "train", "What to do.", list(JOBS))
    define("Job", "boolean", "help", False, "Show this help.", short_name="h")

    embedded = ", ".join(data.names())
    group = "Data"
    define(group, "string", "dataset", "digits", f"{embedded}, or any TFDS name, as cifar10.")
    define(group, "string", "data_dir", None, "TFDS's folder, or the folder of image_folder.")
    define(group, "boolean", "download", False, "Let TFDS download what data_dir lacks.")
    define(group, "list", "image_size", None, "HEIGHT,WIDTH to resize images to.")
    whole(group, "train_size", None, "Size of a random subset to train on; unset for all.")
    whole(group, "validation_size", None, "Size of a random subset to validate on.")
    define(group, "boolean", "balanced", False, "As many examples of every class.")
    whole(group, "subset_seed", 0, "Seed of the subsets and of held-out data.")
    one_of(group, "augmentation", "none", "Of training images.", data.augmentation.names())
    whole(group, "batch_size", 128, "Images of a step, over all replicas.")

    text = "A file of poisons, as --job=brew leaves it, to train on."
    define("Poisons", "string", "poisons", None, text)

    text = "A keep-list of --job=audit: training images that are not on it are left out."
    define("Keep-list", "string", "keep_list", None, text)

    group = "Network"
    small = [name for name in networks.names() if name.islower()]
    define(
        group,
        "string",
        "network",
        "convnet_small",
        f"{', '.join(small)}, or a name of keras.applications, as EfficientNetB0.",
    )
    whole(group, "width", None, "Channels of the first block; unset: as published.")
    define(
        group,
        "boolean",
        "batch_normalization",
        None,
        "For networks that leave the choice: convnet, mlp.",
    )

    group = "Training"
    whole(group, "epochs", 10, "Epochs.")
    one_of(group, "optimizer", "sgd", "Of keras.optimizers.", OPTIMIZERS)
    number(group, "learning_rate", 0.1, "At the start.")
    number(group, "momentum", None, "For sgd and rmsprop.")
    define(group, "boolean", "nesterov", False, "Nesterov's momentum, for sgd.")
    number(
        group,
        "weight_decay",
        0.0,
        f"Decoupled for {', '.join(DECOUPLED_DECAY)}; an L2 penalty on all weights for the others, "
        "as weight_decay of PyTorch's SGD.",
    )
    one_of(group, "schedule", "constant", "Of the learning rate.", SCHEDULES)
    define(group, "list", "milestones", None, "Epochs at which the rate falls, for steps.")
    number(group, "decay", 0.1, "Factor of each fall, for steps.")
    number(group, "clipnorm", None, "Norm that the whole gradient is clipped to.")
    number(group, "label_smoothing", 0.0, "From 0 to below 1.")
    precisions = ("float32", "mixed_float16", "mixed_bfloat16")
    one_of(group, "precision", "float32", "Keras's dtype policy.", precisions)
    define(
        group, "boolean", "jit_compile", None, "Compile the step with XLA; unset: Keras decides."
    )
    whole(group, "steps_per_execution", 1, "Steps between two looks of Keras.")
    define(group, "boolean", "deterministic", False, "Deterministic GPU operations; slower.")
    whole(group, "seed", 0, "Of weights, order, augmentation, dropout and poisons.")

    group = "Defense"
    text = "NAME, NAME(setting=value;setting=value), or several with + between."
    one_of(group, "defense", "none", text, defenses.names())
    one_of(
        group, "defense_attack", "gradient_matching", "Crafted inside the step.", attacks.names()
    )
    number(group, "defense_poison_fraction", None, "Share of poisons; unset: the attack's own.")
    one_of(group, "defense_target_selection", "share", "How batches are split.", TARGET_SELECTIONS)
    number(group, "defense_epsilon", None, "ε, a share of the pixel range; unset: 16/255.")
    whole(group, "defense_steps", None, "Crafting steps; unset: the attack's own.")
    number(group, "defense_step_size", None, "Share of the range (Adams) or of ε.")
    one_of(group, "defense_optimizer", None, "Of perturbations.", list(PERTURBATION_OPTIMIZERS))
    one_of(group, "defense_initializer", None, "Of perturbations.", list(INITIALIZERS))
    whole(group, "defense_patch_size", None, "Pixels, for patches of class.")
    whole(group, "defense_warmup_epochs", 0, "Epochs without crafting.")
    text = "Craft with the statistics of the batch where BatchNormalization's moving ones lag."
    define(group, "boolean", "defense_batch_statistics", False, text)

    group = "Attack"
    known = ", ".join(recipes.names())
    define(group, "list", "recipes", ["gradient_matching"], f"How poisons are made: {known}.")
    known = ", ".join(scenario.names())
    define(group, "list", "scenarios", ["from_scratch"], f"What victims start from: {known}.")
    known = ", ".join(ADVERSARIES)
    text = f"Whether surrogates are trained with the defense under test: {known}."
    define(group, "list", "adversaries", ["standard"], text)
    one_of(group, "threat_model", "single_class", "Whose images are poisoned.", THREAT_MODELS)
    number(group, "budget", 0.01, "Poisons: a share of the training set below 1, or a number.")
    one_of(group, "poison_selection", None, "Unset: the recipe's own.", SELECTIONS)
    whole(group, "targets", 1, "Target images, all of one class.")
    whole(group, "target_class", None, "Of targets, or of a trigger's sources; unset: drawn.")
    whole(group, "adversarial_class", None, "What targets are to be called; unset: drawn.")
    define(group, "list", "target_ids", None, "Ids in the validation split; unset: drawn.")
    define(group, "list", "poison_ids", None, "Ids in the training split; unset: drawn.")
    number(group, "epsilon", None, "ε, a share of the pixel range; unset: 16/255.")
    whole(group, "brew_steps", None, "Steps of the optimizer; unset: 250.")
    number(group, "brew_step_size", None, "As --defense_step_size.")
    one_of(group, "brew_optimizer", None, "Unset: sign_adam.", list(PERTURBATION_OPTIMIZERS))
    one_of(group, "brew_initializer", None, "Unset: the recipe's own.", list(INITIALIZERS))
    one_of(
        group,
        "brew_augmentation",
        None,
        "Of poisons; unset: shift_flip.",
        data.augmentation.names(),
    )
    whole(group, "brew_batch_size", None, "The most poisons crafted as one; unset: 512.")
    whole(group, "restarts", None, "Brewings, of which the best is kept; unset: the recipe's own.")
    one_of(group, "target_loss", None, "Unset: cross_entropy.", TARGET_LOSSES)
    whole(group, "surrogates", None, "Networks crafted against; unset: the recipe's own.")
    define(group, "boolean", "staggered", None, "Surrogates of different epochs.")
    whole(group, "retrainings", None, "Of surrogates while brewing; unset: the recipe's own.")
    whole(group, "trigger_size", None, "Side in pixels; unset: a quarter of the image's.")
    define(
        group, "string", "trigger_place", "random", f"{', '.join(TRIGGER_PLACES)} or ROW,COLUMN."
    )
    define(
        group,
        "string",
        "setups",
        None,
        "Published set-ups of the poisoning benchmark; trial N has the Nth.",
    )
    define(
        group,
        "boolean",
        "setups_in_original_order",
        True,
        "Whether the data lie in the order that the set-ups count; if not, images of their classes "
        "are drawn.",
    )
    define(group, "string", "trigger_image", None, "An image file; unset: random pixels.")
    whole(group, "trigger_sources", 128, "Source images that poisons are crafted with.")
    text = "Clean victims of every column that must classify drawn targets rightly."
    whole(group, "clean_networks", 1, text)

    group = "Pretraining"
    one_of(group, "pretraining_source", None, "Of fine-tuning and transfer.", PRETRAINING_SOURCES)
    whole(group, "pretraining_size", None, "Images; unset for all.")
    define(group, "list", "pretraining_classes", None, "Classes, for other_classes.")
    define(group, "string", "pretraining_dataset", None, "A TFDS name, for data_set.")
    define(group, "string", "pretraining_data_dir", None, "Where that lies.")
    whole(group, "pretraining_epochs", None, "Unset: as --epochs.")
    number(group, "pretraining_learning_rate", None, "Unset: as --learning_rate.")
    define(group, "list", "pretraining_milestones", None, "Of the schedule steps.")
    define(
        group, "boolean", "defended_pretraining", False, "Defend it too where victims are defended."
    )

    group = "Experiment"
    define(
        group,
        "list",
        "defenses",
        ["none", "gradient_matching"],
        "Columns beside the undefended one: each as --defense, or the attack that adversarial "
        "poisoning crafts.",
    )
    whole(group, "trials", 10, "Trials, each with a threat of its own.")
    whole(group, "victims", 1, "Victims trained on each poisoning.")

    group = "Brewing"
    whole(group, "trial", 0, "The trial whose poisons are made.")
    define(
        group, "list", "export", [], f"Beside the file of poisons: {', '.join(exports.names())}."
    )

    group = "Audit"
    known = ", ".join(filters.names())
    text = f"Each with settings as --defense: {known}."
    define(group, "list", "filters", filters.names(), text)
    text = "Filters that must suspect an image for the keep-list to leave it out."
    whole(group, "agreement", 2, text)
    text = "A CSV file of the poisons in the data, by id or file, to measure filters by."
    define(group, "string", "known_poisons", None, text)

    group = "Distribution"
    one_of(group, "strategy", "default", "tf.distribute strategy.", distribution.names())
    one_of(group, "matching", "global", "Whether replicas craft together.", MATCHING)

    group = "Benchmark"
    define(
        group,
        "list",
        "benchmark_attacks",
        ["gradient_matching", "gradient_matching_fast", "evasion"],
        "Attacks to measure, or all.",
    )
    whole(group, "benchmark_steps", 20, "Steps of each kind to time.")
    define(group, "list", "benchmark_image_shape", ["32", "32", "3"], "HEIGHT,WIDTH,CHANNELS.")

    group = "Output"
    define(group, "string", "output_dir", None, "Where all results go; resumes what is there.")
    number(group, "checkpoint_seconds", 300, "Between checkpoints in an epoch; 0: epochs' ends.")
    whole(group, "verbosity", 0, "Below 0: no progress bar, no report, errors alone.")
    return values, groups


def _train(values: flags.FlagValues, groups: Groups) -> Job:
    return TrainJob(
        data=_data_settings(values),
        network=_network_settings(values),
        training=_training_settings(values),
        defense=_defense(values),
        defense_name=values.defense,
        poisons=values.poisons,
        directory=_directory(values, groups),
        checkpoint_seconds=values.checkpoint_seconds,
        verbose=values.verbosity >= 0,
    )


def _directory(values: flags.FlagValues, groups: Groups) -> RunDirectory:
    if values.output_dir is None:
        raise ValueError("Expected --output_dir, the directory for the results. Received none.")
    return RunDirectory(
        values.output_dir,
        flags_of_the_run(values, groups),
        free=_EXTENDABLE.get(values.job, ()),
        latest=_LATEST.get(values.job, ()),
        later=_LATER.get(values.job, ()),
        files=_FILES,
    )


def _benchmark(values: flags.FlagValues, groups: Groups) -> Job:
    names = values.benchmark_attacks
    directory = None
    if values.output_dir is not None:
        directory = RunDirectory(values.output_dir, flags_of_the_run(values, groups))
    return BenchmarkJob(
        attacks=tuple(attacks.names() if names == ["all"] else names),
        network=_network_settings(values),
        poison_fraction=values.defense_poison_fraction,
        image_shape=_whole_numbers(values, "benchmark_image_shape", count=3),
        batch_size=values.batch_size,
        steps=values.benchmark_steps,
        jit_compile=values.jit_compile,
        directory=directory,
    )


def _experiment(values: flags.FlagValues, groups: Groups) -> Job:
    return ExperimentJob(
        setup=_training_setup(values, ["none", *values.defenses]),
        attacks=_attacks(values),
        adversaries=tuple(values.adversaries),
        trials=values.trials,
        victims=values.victims,
        seed=values.seed,
        directory=_directory(values, groups),
        checkpoint_seconds=values.checkpoint_seconds,
        verbose=values.verbosity >= 0,
    )


def _brew(values: flags.FlagValues, groups: Groups) -> Job:
    for name in ("recipes", "scenarios", "adversaries"):
        given: list[str] = values[name].value or []
        if len(given) != 1:
            raise ValueError(f"Expected one of --{name} to brew. Received: {','.join(given)}")
    adaptive = values.adversaries == ["adaptive"]
    check_name("adversary", values.adversaries[0], ADVERSARIES)
    return BrewJob(
        setup=_training_setup(values, ["none", *([values.defense_attack] if adaptive else [])]),
        attack=_attacks(values)[0],
        defense=values.defense_attack if adaptive else "none",
        trial=values.trial,
        exports=tuple(values.export),
        seed=values.seed,
        directory=_directory(values, groups),
        checkpoint_seconds=values.checkpoint_seconds,
        verbose=values.verbosity >= 0,
    )


def _report(values: flags.FlagValues, groups: Groups) -> Job:
    if values.output_dir is None:
        raise ValueError("Expected --output_dir, the directory of an experiment. Received none.")
    return ReportJob(pathlib.Path(values.output_dir))


def _audit(values: flags.FlagValues, groups: Groups) -> Job:
    return AuditJob(
        data=_data_settings(values),
        network=_network_settings(values),
        training=_training_settings(values),
        filters={text: _filter(text) for text in values.filters},
        agreement=values.agreement,
        directory=_directory(values, groups),
        poisons=values.poisons,
        known_poisons=values.known_poisons,
        checkpoint_seconds=values.checkpoint_seconds,
        verbose=values.verbosity >= 0,
    )


def _filter(expression: str) -> Filter:
    defense = defenses.from_text(expression)
    if defense.filter is None or defense != Defense(filter=defense.filter):
        raise ValueError(
            "Expected --filters to be filters with commas between, of "
            f"{', '.join(filters.names())}. Received: {expression}"
        )
    return defense.filter


JOBS = {
    "train": _train,
    "brew": _brew,
    "experiment": _experiment,
    "audit": _audit,
    "report": _report,
    "benchmark": _benchmark,
}

# The defense's flags that grids and adaptive adversaries take; --defenses names the defenses.
_ADAPTIVE = (
    "defense_poison_fraction",
    "defense_target_selection",
    "defense_warmup_epochs",
    "defense_batch_statistics",
    *(f"defense_{name}" for name in _ATTACK_SETTINGS),
)

# What each job makes of the flags: groups of them, or single ones.
_USED = {
    "train": (
        *("Job", "Data", "Keep-list", "Poisons", "Network", "Training", "Defense"),
        *("Distribution", "Output"),
    ),
    "brew": (
        *("Job", "Data", "Keep-list", "Network", "Training", "Attack", "Pretraining", "Brewing"),
        "Output",
        *("defense_attack", *_ADAPTIVE),
    ),
    "experiment": (
        *("Job", "Data", "Keep-list", "Network", "Training", "Attack", "Pretraining"),
        *("Experiment", "Output"),
        *_ADAPTIVE,
    ),
    "audit": ("Job", "Data", "Poisons", "Network", "Training", "Audit", "Output"),
    "report": ("Job", "output_dir", "verbosity"),
    "benchmark": (
        *("Job", "Network", "Benchmark", "Output"),
        *("batch_size", "jit_compile", "defense_poison_fraction"),
    ),
}


def _data_settings(values: flags.FlagValues) -> DataSettings:
    size = None if values.image_size is None else _whole_numbers(values, "image_size", count=2)
    return DataSettings(
        dataset=values.dataset,
        data_dir=values.data_dir,
        download=values.download,
        image_size=size,
        train_size=values.train_size,
        validation_size=values.validation_size,
        balanced=values.balanced,
        subset_seed=values.subset_seed,
        augmentation=values.augmentation,
        batch_size=values.batch_size,
        keep_list=values.keep_list,
    )


def _network_settings(values: flags.FlagValues) -> NetworkSettings:
    return NetworkSettings(values.network, values.width, values.batch_normalization)


def _training_settings(values: flags.FlagValues) -> TrainingSettings:
    names = [field.name for field in dataclasses.fields(TrainingSettings)]
    settings: dict[str, Any] = {name: values[name].value for name in names}
    settings["milestones"] = _whole_numbers(values, "milestones") if values.milestones else ()
    return TrainingSettings(**settings)


def _defense(values: flags.FlagValues) -> Defense:
    if not _crafting_parts(values.defense):
        set_flags = [
            name
            for name in values
            if (name.startswith("defense_") or name == "matching") and _is_set(values, name)
        ]
        if set_flags:
            raise ValueError(
                "Expected no flags of adversarial poisoning with "
                f"--defense={values.defense}. Received: "
                f"{', '.join(f'--{name}' for name in sorted(set_flags))}. Set "
                "--defense=adversarial_poisoning to use them."
            )
        return defenses.from_text(values.defense)
    return defenses.build(
        [
            (name, _crafting_flags(values, name, own) | own)
            for name, own in defenses.parse(values.defense)
        ]
    )


def _crafting_parts(expression: str) -> list[str]:
    """Returns the parts of a defense that are adversarial poisoning."""
    return [name for name, _ in defenses.parse(expression) if defenses.is_crafting(name)]


def _crafting_flags(values: flags.FlagValues, name: str, own: dict[str, Any]) -> dict[str, Any]:
    """Returns what the flags say about a defense that is adversarial poisoning."""
    if not defenses.is_crafting(name):
        return {}
    flag_names = ("poison_fraction", *_ATTACK_SETTINGS)
    given = {each: values[f"defense_{each}"].value for each in flag_names}
    given = {each: value for each, value in given.items() if value is not None}
    if name == "adversarial_poisoning" and "attack" not in own:
        given["attack"] = values.defense_attack
    return given | {
        "target_selection": values.defense_target_selection,
        "warmup_epochs": values.defense_warmup_epochs,
        "batch_statistics": values.defense_batch_statistics,
        "matching": values.matching,
    }


def _training_setup(values: flags.FlagValues, columns: Sequence[str]) -> TrainingSetup:
    """Returns how networks are trained, for columns of defenses."""
    table = {column: _column(values, column) for column in dict.fromkeys(columns)}
    _tell_of_no_effect(values, table)
    data_settings = dataclasses.replace(
        _data_settings(values),
        # Images that are named are there, whichever others a subset holds.
        train_ids=_whole_numbers(values, "poison_ids"),
        validation_ids=_whole_numbers(values, "target_ids"),
    )
    return TrainingSetup(
        data=data_settings,
        network=_network_settings(values),
        training=_training_settings(values),
        pretraining=_pretraining_settings(values),
        defenses=table,
    )


def _column(values: flags.FlagValues, expression: str) -> Defense:
    """Returns the defense of a column; the flags hold for those that have such settings."""
    return defenses.build(
        [(name, shared | own) for name, shared, own in _parts(values, expression)]
    )


def _parts(
    values: flags.FlagValues, expression: str
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Returns (name, what the flags say about it, its own settings) for each part of a defense."""
    parts = []
    for name, own in defenses.parse(expression):
        shared = _crafting_flags(values, name, own)
        known = defenses.settings(name, **{"attack": values.defense_attack} | shared | own)
        parts.append((name, {each: shared[each] for each in shared if each in known}, own))
    return parts


def _tell_of_no_effect(values: flags.FlagValues, columns: Collection[str]) -> None:
    """Tells which flags make no difference: a flagfile's columns may be replaced by others."""
    used = {
        f"defense_{setting}"
        for column in columns
        for _, shared, own in _parts(values, column)
        for setting in shared.keys() - own.keys()
    }
    if values.defense_attack in columns:
        used.add("defense_attack")
    without = [
        f"--{name}"
        for name in ("defense_attack", *_ADAPTIVE)
        if _is_set(values, name) and name not in used
    ]
    if without:
        print(
            f"tfpoison.launch: no effect on the defenses {', '.join(columns)}: "
            f"{', '.join(without)}",
            file=sys.stderr,
        )


def _pretraining_settings(values: flags.FlagValues) -> PretrainingSettings | None:
    needed = any(scenario.get(name).pretrained for name in values.scenarios)
    if values.pretraining_source is None or not needed:
        names = [name for name in values if "pretraining" in name and _is_set(values, name)]
        if names:
            raise ValueError(
                "Expected flags of a pretraining with --pretraining_source, and a scenario that "
                f"needs one. Received: {', '.join(f'--{name}' for name in sorted(names))}"
            )
        return None
    return PretrainingSettings(
        source=values.pretraining_source,
        size=values.pretraining_size,
        classes=_whole_numbers(values, "pretraining_classes"),
        dataset=values.pretraining_dataset,
        data_dir=values.pretraining_data_dir,
        epochs=values.pretraining_epochs,
        learning_rate=values.pretraining_learning_rate,
        milestones=_whole_numbers(values, "pretraining_milestones"),
        defended=values.defended_pretraining,
    )


# Flags of the adversary, and the settings of recipes that they set.
_RECIPE_SETTINGS = {
    "epsilon": "epsilon",
    "brew_steps": "steps",
    "brew_step_size": "step_size",
    "brew_optimizer": "optimizer",
    "brew_initializer": "initializer",
    "brew_augmentation": "augmentation",
    "brew_batch_size": "batch_size",
    "restarts": "restarts",
    "target_loss": "target_loss",
    "surrogates": "surrogates",
    "staggered": "staggered",
    "retrainings": "retrainings",
    "poison_selection": "selection",
}


def _attacks(values: flags.FlagValues) -> tuple[AttackSettings, ...]:
    """Returns the attacks, one for each recipe and scenario."""
    given = {setting: values[flag].value for flag, setting in _RECIPE_SETTINGS.items()}
    given = {setting: value for setting, value in given.items() if value is not None}
    known = {name: recipes.known_settings(name) for name in dict.fromkeys(values.recipes)}
    _check_threat_flags(values)
    useless = set(given).difference(*known.values())
    if useless:
        names = [f"--{flag}" for flag, setting in _RECIPE_SETTINGS.items() if setting in useless]
        raise ValueError(
            f"Expected flags that the recipes {', '.join(known)} have. Received: {', '.join(names)}"
        )
    return tuple(
        AttackSettings(
            recipe=recipe,
            recipe_settings={name: value for name, value in given.items() if name in settings},
            scenario=each,
            threat={
                "threat_model": values.threat_model,
                "budget": values.budget,
                "targets": values.targets,
                "target_class": values.target_class,
                "adversarial_class": values.adversarial_class,
                "target_ids": _whole_numbers(values, "target_ids"),
                "poison_ids": _whole_numbers(values, "poison_ids"),
            },
            setups=() if values.setups is None else benchmark_setups.read(values.setups),
            original_order=values.setups_in_original_order,
            trigger_size=values.trigger_size,
            trigger_place=values.trigger_place,
            trigger_image=values.trigger_image,
            sources=values.trigger_sources,
            clean_networks=values.clean_networks,
        )
        for recipe, settings in known.items()
        for each in dict.fromkeys(values.scenarios)
    )


def _check_threat_flags(values: flags.FlagValues) -> None:
    """Raises ValueError where a flag of the threat would make no difference."""
    chosen = [recipes.get(name) for name in values.recipes]
    triggered = any(recipe.triggered for recipe in chosen)
    useless = {
        "that no recipe without a trigger has": (
            [] if triggered else [name for name in values if name.startswith("trigger_")]
        ),
        "that recipes with a trigger, whose targets are all source images, do not have": (
            ["targets", "target_ids"] if all(recipe.triggered for recipe in chosen) else []
        ),
        "that a set-up does not say already": (
            ["budget", "target_class", "adversarial_class", "target_ids", "poison_ids"]
            if values.setups is not None
            else ["setups_in_original_order"]
        ),
        "beside poison_ids": ["budget", "poison_selection"] if values.poison_ids else [],
    }
    for what, names in useless.items():
        present = [f"--{name}" for name in names if _is_set(values, name)]
        if present:
            raise ValueError(f"Expected no flags {what}. Received: {', '.join(present)}")


def _whole_numbers(values: flags.FlagValues, name: str, count: int | None = None) -> tuple:
    received: list[str] = values[name].value or []
    expected = f"{count} whole numbers" if count else "whole numbers"
    if not all(each.strip().isdigit() for each in received) or count not in (None, len(received)):
        raise ValueError(
            f"Expected --{name} to be {expected} with commas between. "
            f"Received: {','.join(received)}"
        )
    return tuple(int(each) for each in received)


def _is_set(values: flags.FlagValues, name: str) -> bool:
    """Returns whether a flag asks for anything: a run's configuration names the defaults too."""
    return values[name].present > 0 and values[name].value != values[name].default


def _used_flags(values: flags.FlagValues, groups: Groups) -> set[str]:
    used = _USED[values.job]
    return {
        name for group, names in groups.items() for name in names if group in used or name in used
    }


def flags_of_the_run(values: flags.FlagValues, groups: Groups) -> dict[str, str]:
    """Returns the job's flags that are set and change the results, as they stand in a flagfile."""
    texts = {}
    for name in sorted(_used_flags(values, groups).difference(_NOT_OF_THE_RUN)):
        value = values[name].value
        unused = values.job == "train" and not _crafting_parts(values.defense)
        if value is None or (unused and name.startswith("defense_")):
            continue
        texts[name] = ",".join(value) if isinstance(value, list) else str(value)
    return texts


def expand_flagfiles(arguments: Sequence[str], within: tuple[pathlib.Path, ...] = ()) -> list[str]:
    """Replaces every --flagfile=FILE by the lines of the file, files within files included.

    A file is looked for from the working directory, and, within a flagfile, first beside it.

    Args:
        arguments: the command line, or the lines of a flagfile.
        within: the flagfiles that these lines stand in, the innermost last.

    Raises:
        ValueError: a file cannot be read, or includes itself.
    """
    expanded: list[str] = []
    left = iter(arguments)
    for argument in left:
        name, equals, path = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        path = path if equals else next(left, "")
        beside = [within[-1].parent / path] if within else []
        file = next((each for each in [*beside, pathlib.Path(path)] if each.is_file()), None)
        if file is None:
            raise ValueError(f"Expected --flagfile to name a file. Received: {path or '(nothing)'}")
        file = file.resolve()
        if file in within:
            raise ValueError(f"Expected no flagfile to include itself. Received: {file}")
        expanded += expand_flagfiles(read_flag_lines(file), (*within, file))
    return expanded


def format_help(values: flags.FlagValues, groups: Groups) -> str:
    """Returns the help: all flags with their defaults, group by group."""
    lines = ["python -m tfpoison.launch --flagfile=flags/NAME.flags [--FLAG=VALUE ...]"]
    for group, names in groups.items():
        lines += ["", group]
        for name in names:
            flag = values[name]
            default = flag.default
            if isinstance(default, list):
                default = ",".join(default)
            shown = "" if default in (None, False) else f" [{default}]"
            text = textwrap.wrap(f"{flag.help}{shown}", 66)
            title = f"  --{name}"
            if len(title) > 30:
                lines.append(title)
                title = ""
            lines += [f"{title:<32}{text[0]}", *(" " * 32 + line for line in text[1:])]
    return "\n".join(lines)


def parse(arguments: Sequence[str]) -> tuple[flags.FlagValues, Groups]:
    """Returns the flags with the values of a command line.

    Raises:
        ValueError: a flag is unknown or has a value of the wrong type.
    """
    values, groups = define_flags()
    try:
        left = values(["launch", *expand_flagfiles(arguments)])[1:]
    except flags.Error as error:
        raise ValueError(_explain(error, values)) from error
    if left:
        raise ValueError(f"Expected flags alone, --name=value. Received: {' '.join(left)}")
    return values, groups


def _explain(error: flags.Error, values: flags.FlagValues) -> str:
    text = " ".join(str(error).split())
    wrong = re.match(r"flag --(\w+)=(.*?): ", text)
    if wrong and wrong[1] in values:
        kinds = {"int": "an integer", "float": "a number", "bool": "true or false"}
        expected = kinds.get(values[wrong[1]].flag_type(), "text")
        return f"Expected --{wrong[1]} to be {expected}. Received: {wrong[2]}"
    return text


def make_job(values: flags.FlagValues, groups: Groups) -> Job:
    """Returns the job that the flags describe.

    Raises:
        ValueError: a value or a combination of values cannot be, or a flag is not the job's.
        TypeError: a value has the wrong type.
    """
    _check_texts(values)
    check_name("job", values.job, JOBS)
    used = _used_flags(values, groups)
    unused = [
        f"--{name}"
        for names in groups.values()
        for name in names
        if _is_set(values, name) and name not in used
    ]
    if unused:
        raise ValueError(
            f"Expected flags of --job={values.job} alone. Received others: {', '.join(unused)}"
        )
    check_number("checkpoint_seconds", values.checkpoint_seconds, minimum=0)
    return JOBS[values.job](values, groups)


def _check_texts(values: flags.FlagValues) -> None:
    """Raises ValueError where a flag is empty, or no text that all libraries can read."""
    for name in values:
        text = values[name].value
        if not isinstance(text, str):
            continue
        if not text.strip():
            raise ValueError(
                f"Expected --{name} to have a value; leave it out for the default. Received: "
                f"--{name}={text}, an empty one"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"Expected --{name} in UTF-8. Received: {text!r}") from error


def main(arguments: Sequence[str]) -> int:
    """Runs the job that the command line asks for and returns the exit code."""
    folder, started = pathlib.Path(), False
    try:
        values, groups = parse(arguments)
        if values.help:
            print(format_help(values, groups), flush=True)
            return DONE
        folder = pathlib.Path(values.output_dir or "")
        logging.set_verbosity(logging.WARNING if values.verbosity < 1 else logging.INFO)
        # TensorFlow warns of retracing wherever a grid meets images of another number.
        std_logging.getLogger("tensorflow").setLevel(
            std_logging.ERROR if values.verbosity < 1 else std_logging.INFO
        )
        job = make_job(values, groups)
        if values.strategy != "multi_worker":
            # Several workers have to meet before anything else; their job checks itself then.
            job.check()
        started = True
        report = job.run()
        if values.verbosity >= 0 and report:
            print(report, flush=True)
    except (Exception, KeyboardInterrupt) as error:
        return failures.tell(error, folder, started=started)
    return DONE


if __name__ == "__main__":
    process.unwind_on_signals()
    with process.temporary_folder():
        code = main(sys.argv[1:])
    sys.exit(code)
