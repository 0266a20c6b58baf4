"""The adversary: poisons for a whole data set, before training."""

from tfpoison.recipes.brew import Brewer, BrewSettings
from tfpoison.recipes.poisons import PoisonedExamples, Poisons
from tfpoison.recipes.recipe import Recipe, get, known_settings, names, settings
from tfpoison.recipes.threat import Threat, ThreatSettings, TrialKey

__all__ = [
    "BrewSettings",
    "Brewer",
    "PoisonedExamples",
    "Poisons",
    "Recipe",
    "Threat",
    "ThreatSettings",
    "TrialKey",
    "get",
    "known_settings",
    "names",
    "settings",
]
