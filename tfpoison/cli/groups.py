"""The flags in groups: each group is a dataclass of settings, whose fields become flags."""

import dataclasses
from collections.abc import Collection

from tfpoison.attacks.crafting import Crafting
from tfpoison.attacks.zoo import ATTACKS
from tfpoison.experiment.settings import AttackSettings, PretrainingSettings
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.jobs.settings import (
    AdversarySettings,
    AuditSettings,
    BenchmarkSettings,
    BrewingSettings,
    ExperimentSettings,
    OutputSettings,
    PoisonsSettings,
)
from tfpoison.recipes.recipe_settings import RecipeSettings
from tfpoison.recipes.threat_settings import ThreatSettings
from tfpoison.settings import Settings, declared, rule_of, setting


@dataclasses.dataclass(frozen=True)
class Group:
    """The flags of some fields.

    Attributes:
        title: what stands above them in the help.
        settings: the dataclass.
        prefix: what the flags' names begin with, where a field does not say its flag's name.
        only: names of the fields; all where none is given.
        without: names of fields that have no flag here.
        unset: fields, or `"*"` for all, whose flags have no default: left out, they leave the
            choice to what they are for.
    """

    title: str
    settings: type[Settings]
    prefix: str = ""
    only: Collection[str] = ()
    without: Collection[str] = ()
    unset: Collection[str] = ()

    def flags(self) -> dict[str, dataclasses.Field]:
        """Returns the fields by the names of their flags."""
        return {
            rule_of(field).flag or self.prefix + field.name: field
            for field in declared(self.settings)
            if (not self.only or field.name in self.only) and field.name not in self.without
        }

    def default(self, field: dataclasses.Field) -> object:
        """Returns the default of a field's flag; None where it is left open."""
        is_unset = field.name in self.unset or "*" in self.unset
        return None if is_unset or field.default == () else field.default


@dataclasses.dataclass(frozen=True)
class JobSettings(Settings):
    """What is done."""

    job: str = setting("train", "What to do; see --help.")
    plugin: tuple[str, ...] = setting(
        (), "Python modules to import first, which register parts of one's own."
    )


@dataclasses.dataclass(frozen=True)
class DefenseSettings(Settings):
    """What a training is defended by."""

    defense: str = setting(
        "none", "NAME, NAME(setting=value;setting=value), or several with + between."
    )


@dataclasses.dataclass(frozen=True)
class AttackInStepSettings(Settings):
    """The attack that is crafted inside the step, and its settings where it has them."""

    attack: str = setting("gradient_matching", "What is crafted inside the step.", choices=ATTACKS)
    epsilon: float | None = setting(None, "ε, a share of the pixel range as 8/255; unset: 16/255.")
    steps: int | None = setting(None, "Crafting steps; unset: the attack's own.")
    step_size: float | None = setting(None, "Share of the range (Adams) or of ε.")
    optimizer: str | None = setting(
        None, "What moves the perturbation.", choices="tfpoison.perturbations:OPTIMIZERS"
    )
    initializer: str | None = setting(
        None, "Where the perturbation starts.", choices="tfpoison.perturbations:INITIALIZERS"
    )
    patch_size: int | None = setting(None, "Pixels, for patches of class.")


@dataclasses.dataclass(frozen=True)
class SetupsSettings(Settings):
    """Published threats."""

    setups: str | None = setting(
        None, "Published set-ups of the poisoning benchmark; trial N has the Nth."
    )


GROUPS = {
    "job": Group("Job", JobSettings),
    "data": Group("Data", DataSettings, without=("keep_list",)),
    "poisons": Group("Poisons", PoisonsSettings),
    "keep_list": Group("Keep-list", DataSettings, only=("keep_list",)),
    "network": Group("Network", NetworkSettings),
    "training": Group("Training", TrainingSettings, without=("strategy",)),
    "defense": Group("Defense", DefenseSettings),
    "attack in the step": Group(
        "Adversarial poisoning: the attack", AttackInStepSettings, "defense_", only=("attack",)
    ),
    "crafting": Group("Adversarial poisoning", Crafting, "defense_", without=("matching",)),
    "attack's settings": Group(
        "Adversarial poisoning: settings of the attack",
        AttackInStepSettings,
        "defense_",
        without=("attack",),
    ),
    "adversary": Group("Adversary", AdversarySettings),
    "threat": Group("Threat", ThreatSettings, without=("selection",)),
    "setups": Group("Set-ups", SetupsSettings),
    "recipe": Group("Recipe", RecipeSettings, unset="*"),
    "attack": Group("Attack", AttackSettings),
    "pretraining": Group("Pretraining", PretrainingSettings, "pretraining_", unset=("source",)),
    "experiment": Group("Experiment", ExperimentSettings),
    "brewing": Group("Brewing", BrewingSettings),
    "audit": Group("Audit", AuditSettings),
    "distribution": Group("Distribution", TrainingSettings, only=("strategy",)),
    "matching": Group("Distribution of crafting", Crafting, only=("matching",)),
    "benchmark": Group("Benchmark", BenchmarkSettings, "benchmark_"),
    "output": Group("Output", OutputSettings),
}
