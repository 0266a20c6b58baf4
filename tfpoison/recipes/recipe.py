"""The recipes of the adversary: a table, name → objective × perturbation × what is triggered."""

import dataclasses
from typing import Any

from tfpoison.checks import check_name
from tfpoison.objectives import (
    ConvexPolytope,
    FeatureCollision,
    GradientMatching,
    GradientMatchingSquaredError,
    HiddenTrigger,
    MetaPoison,
    Objective,
)
from tfpoison.recipes.settings import RecipeSettings
from tfpoison.settings import declared


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How poisons are made.

    Attributes:
        objective: what the perturbation is optimised for; None where nothing is.
        perturbation: `"additive"` (within ±ε), `"blend"` (a watermark of the target with opacity ε)
            or `"trigger"` (the trigger itself is pasted on the poisons).
        triggered: whether the targets are images that carry a trigger.
        changes_labels: whether poisons are images of the source class that get the adversary's
            label. All other recipes are clean-label.
        defaults: settings in which the recipe differs from others.
    """

    objective: Objective | None
    perturbation: str = "additive"
    triggered: bool = False
    changes_labels: bool = False
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def crafts_on_sources(self) -> bool:
        """Whether training images of the source class, with the trigger, are crafted with."""
        return self.triggered and self.objective is not None


RECIPES = {
    # arXiv 2009.02276: the poisons' training gradient points where the target's does.
    "gradient_matching": Recipe(GradientMatching()),
    "gradient_matching_se": Recipe(GradientMatchingSquaredError()),
    # arXiv 2004.00225: an ensemble of surrogates at different stages of training.
    "metapoison": Recipe(MetaPoison(), defaults={"surrogates": 4, "staggered": True}),
    # arXiv 1804.00792, in the form of the authors' code: it collides the mean of the features as
    # bullseye does, starts at the images themselves and knows no restarts.
    "poison_frogs": Recipe(FeatureCollision(), defaults={"initializer": "zero", "restarts": 1}),
    # arXiv 2005.00191.
    "bullseye": Recipe(FeatureCollision()),
    # arXiv 1905.05897.
    "convex_polytope": Recipe(ConvexPolytope()),
    # arXiv 1910.00033: poisons with the features of images that carry the trigger.
    "hidden_trigger": Recipe(HiddenTrigger(one_to_one=True), triggered=True),
    # arXiv 2106.08970: gradient matching toward a trigger, with surrogates trained anew in between.
    "sleeper_agent": Recipe(
        GradientMatching(),
        triggered=True,
        defaults={"selection": "gradient_norm", "retrainings": 4, "restarts": 1},
    ),
    # Poisons of the adversarial class carry the trigger under their true label.
    "backdoor_patch": Recipe(None, "trigger", triggered=True),
    # arXiv 1708.06733: images of the source class carry the trigger under the adversary's label.
    "badnets": Recipe(None, "trigger", triggered=True, changes_labels=True),
    # arXiv 1804.00792, section 3: a faint target in every poison.
    "watermark": Recipe(None, "blend", defaults={"epsilon": 0.3}),
}

SETTINGS: dict[str, Any] = {each.name: each.default for each in declared(RecipeSettings)}


def names() -> list[str]:
    """Returns the names of the recipes."""
    return list(RECIPES)


def get(name: str) -> Recipe:
    """Returns the recipe of that name.

    Raises:
        ValueError: the name is unknown.
    """
    check_name("recipe", name, names())
    return RECIPES[name]


def settings(name: str, **given: Any) -> dict[str, Any]:
    """Returns the settings of a recipe: the paper's, the recipe's own, and those given.

    Raises:
        ValueError: the recipe is unknown or has no such setting.
    """
    for setting in given:
        check_name(f"setting of the recipe {name!r}", setting, known_settings(name))
    return SETTINGS | get(name).defaults | given


def known_settings(name: str) -> set[str]:
    """Returns the names of the settings that make a difference to a recipe.

    Raises:
        ValueError: the recipe is unknown.
    """
    recipe = get(name)
    if recipe.objective is not None:
        # Objectives on features know no loss of the targets.
        return set(SETTINGS) - ({"target_loss"} if recipe.objective.needs_features else set())
    return {"selection"} | ({"epsilon"} if recipe.perturbation == "blend" else set())
