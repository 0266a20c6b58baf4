"""The recipes of the adversary by name."""

from typing import TYPE_CHECKING, Any

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.recipes.recipe import Recipe

RECIPES: "Registry[Recipe]" = Registry(
    "recipe",
    ".recipe:Recipe",
    {
        "gradient_matching": ".published:GradientMatching",
        "gradient_matching_fast": ".published:GradientMatchingFast",
        "gradient_matching_se": ".published:GradientMatchingSquaredError",
        "metapoison": ".published:MetaPoison",
        "poison_frogs": ".published:PoisonFrogs",
        "bullseye": ".published:Bullseye",
        "convex_polytope": ".published:ConvexPolytope",
        "hidden_trigger": ".published:HiddenTrigger",
        "sleeper_agent": ".published:SleeperAgent",
        "backdoor_patch": ".backdoors:BackdoorPatch",
        "badnets": ".backdoors:BadNets",
        "blended": ".backdoors:Blended",
        "sig": ".backdoors:Sig",
        "wanet": ".backdoors:WaNet",
        "label_consistent": ".backdoors:LabelConsistent",
        "narcissus": ".backdoors:Narcissus",
        "adaptive_blend": ".backdoors:AdaptiveBlend",
        "adaptive_patch": ".backdoors:AdaptivePatch",
        "watermark": ".published:Watermark",
    },
    __package__,
)

# Functions of poisons, their data set and a folder, that write the poisoned data there.
EXPORTS: Registry[Any] = Registry(
    "export",
    "builtins:object",
    {
        "image_folder": ".exports:image_folder",
        "tfds": ".exports:tfds_data_set",
        "poisoning_benchmark": ".exports:poisoning_benchmark",
    },
    __package__,
)

get, names, settings = RECIPES.get, RECIPES.names, RECIPES.settings
register = RECIPES.register


def name_of(recipe: "Recipe") -> str:
    """Returns the name that a recipe's class has in the table; without one that of the class."""
    return next((name for name in RECIPES if RECIPES[name] is type(recipe)), type(recipe).__name__)
