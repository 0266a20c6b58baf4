"""What poisons should achieve: objectives by name."""

from typing import Any

from tfpoison.checks import check_name
from tfpoison.objectives.convex_polytope import ConvexPolytope
from tfpoison.objectives.evasion import Evasion
from tfpoison.objectives.feature_collision import FeatureCollision
from tfpoison.objectives.gradient_matching import GradientMatching
from tfpoison.objectives.gradient_matching_fast import GradientMatchingFast
from tfpoison.objectives.gradient_matching_squared_error import GradientMatchingSquaredError
from tfpoison.objectives.hidden_trigger import HiddenTrigger
from tfpoison.objectives.metapoison import MetaPoison
from tfpoison.objectives.objective import Objective

_OBJECTIVES: dict[str, type[Objective]] = {
    "gradient_matching": GradientMatching,
    "gradient_matching_squared_error": GradientMatchingSquaredError,
    "gradient_matching_fast": GradientMatchingFast,
    "metapoison": MetaPoison,
    "feature_collision": FeatureCollision,
    "convex_polytope": ConvexPolytope,
    "hidden_trigger": HiddenTrigger,
    "evasion": Evasion,
}

__all__ = [
    "ConvexPolytope",
    "Evasion",
    "FeatureCollision",
    "GradientMatching",
    "GradientMatchingFast",
    "GradientMatchingSquaredError",
    "HiddenTrigger",
    "MetaPoison",
    "Objective",
    "get",
    "names",
]


def names() -> list[str]:
    """Returns the names of the objectives."""
    return list(_OBJECTIVES)


def get(name: str, **settings: Any) -> Objective:
    """Returns the objective of that name with the settings given.

    Raises:
        ValueError: the name is unknown, or a setting has a value that cannot be.
        TypeError: the objective has no such setting.
    """
    check_name("objective", name, names())
    return _OBJECTIVES[name](**settings)
