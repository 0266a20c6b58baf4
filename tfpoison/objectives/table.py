"""The objectives by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.objectives.objective import Objective

OBJECTIVES: "Registry[Objective]" = Registry(
    "objective",
    ".objective:Objective",
    {
        "gradient_matching": ".gradient_matching:GradientMatching",
        "gradient_matching_squared_error": (
            ".gradient_matching_squared_error:GradientMatchingSquaredError"
        ),
        "gradient_matching_fast": ".gradient_matching_fast:GradientMatchingFast",
        "metapoison": ".metapoison:MetaPoison",
        "feature_collision": ".feature_collision:FeatureCollision",
        "convex_polytope": ".convex_polytope:ConvexPolytope",
        "hidden_trigger": ".hidden_trigger:HiddenTrigger",
        "evasion": ".evasion:Evasion",
        "targeted_evasion": ".targeted_evasion:TargetedEvasion",
    },
    __package__,
)

get, names, settings = OBJECTIVES.get, OBJECTIVES.names, OBJECTIVES.settings
register = OBJECTIVES.register
