"""What of the images may change: perturbations by name, their starts and their optimizers."""

from typing import Any

from tfpoison.checks import check_name
from tfpoison.perturbations.additive import Additive
from tfpoison.perturbations.additive_with_triggered_targets import AdditiveWithTriggeredTargets
from tfpoison.perturbations.blend import Blend
from tfpoison.perturbations.class_patch import ClassPatch
from tfpoison.perturbations.initializers import INITIALIZERS
from tfpoison.perturbations.optimizers import OPTIMIZERS
from tfpoison.perturbations.pair_patch import PairPatch
from tfpoison.perturbations.perturbation import BoundPerturbation, Perturbation

_PERTURBATIONS: dict[str, type[Perturbation]] = {
    "additive": Additive,
    "additive_with_triggered_targets": AdditiveWithTriggeredTargets,
    "blend": Blend,
    "class_patch": ClassPatch,
    "pair_patch": PairPatch,
}

__all__ = [
    "INITIALIZERS",
    "OPTIMIZERS",
    "Additive",
    "AdditiveWithTriggeredTargets",
    "Blend",
    "BoundPerturbation",
    "ClassPatch",
    "PairPatch",
    "Perturbation",
    "get",
    "names",
]


def names() -> list[str]:
    """Returns the names of the perturbations."""
    return list(_PERTURBATIONS)


def get(name: str, **settings: Any) -> Perturbation:
    """Returns the perturbation of that name with the settings given.

    Raises:
        ValueError: the name is unknown, or a setting has a value that cannot be.
        TypeError: the perturbation has no such setting.
    """
    check_name("perturbation", name, names())
    return _PERTURBATIONS[name](**settings)
