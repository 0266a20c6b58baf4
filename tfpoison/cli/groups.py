"""The flags in groups: each group is a dataclass of settings, whose fields become flags."""

import dataclasses
from collections.abc import Collection

from tfpoison.attacks.crafting import Crafting
from tfpoison.experiment.settings import AttackSettings, PretrainingSettings
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.jobs.settings import (
    AdversarySettings,
    AuditSettings,
    BenchmarkSettings,
    BrewingSettings,
    DefenseSettings,
    ExperimentSettings,
    JobSettings,
    OutputSettings,
    PoisonsSettings,
)
from tfpoison.recipes.recipe_settings import RecipeSettings
from tfpoison.recipes.threat_settings import ThreatSettings
from tfpoison.repairing.settings import RepairSettings, SavedNetwork
from tfpoison.settings import Settings, declared, rule_of


@dataclasses.dataclass(frozen=True)
class Group:
    """The flags of some fields.

    Attributes:
        title: what stands above them in the help.
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


GROUPS = {
    "job": Group("Job", JobSettings),
    "data": Group("Data", DataSettings, without=("keep_list",)),
    "poisons": Group("Poisons", PoisonsSettings),
    "keep_list": Group("Keep-list", DataSettings, only=("keep_list",)),
    "network": Group("Network", NetworkSettings),
    "training": Group("Training", TrainingSettings, without=("strategy",)),
    "defense": Group("Defense", DefenseSettings, only=("defense",)),
    "attack in the step": Group(
        "Adversarial poisoning: the attack", DefenseSettings, "defense_", only=("attack",)
    ),
    "crafting": Group("Adversarial poisoning", Crafting, "defense_", without=("matching",)),
    "attack's settings": Group(
        "Adversarial poisoning: settings of the attack",
        DefenseSettings,
        "defense_",
        without=("defense", "attack"),
    ),
    "adversary": Group("Adversary", AdversarySettings),
    "threat": Group("Threat", ThreatSettings, without=("selection",)),
    "recipe": Group("Recipe", RecipeSettings, unset="*"),
    "attack": Group("Attack", AttackSettings),
    "pretraining": Group("Pretraining", PretrainingSettings, "pretraining_", unset=("source",)),
    "experiment": Group("Experiment", ExperimentSettings),
    "brewing": Group("Brewing", BrewingSettings),
    "audit": Group("Audit", AuditSettings),
    "saved network": Group("Saved network", SavedNetwork),
    "repair": Group("Repair", RepairSettings),
    "distribution": Group("Distribution", TrainingSettings, only=("strategy",)),
    "matching": Group("Distribution of crafting", Crafting, only=("matching",)),
    "benchmark": Group("Benchmark", BenchmarkSettings, "benchmark_"),
    "output": Group("Output", OutputSettings),
}
