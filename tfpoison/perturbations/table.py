"""Perturbations and triggers by name, where perturbations start, and what moves them."""

from typing import TYPE_CHECKING, Any

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.perturbations.optimizers import PerturbationOptimizer
    from tfpoison.perturbations.perturbation import Perturbation
    from tfpoison.perturbations.trigger import Trigger

PERTURBATIONS: "Registry[Perturbation]" = Registry(
    "perturbation",
    ".perturbation:Perturbation",
    {
        "additive": ".additive:Additive",
        "additive_with_triggered_targets": (
            ".additive_with_triggered_targets:AdditiveWithTriggeredTargets"
        ),
        "blend": ".blend:Blend",
        "class_patch": ".class_patch:ClassPatch",
        "pair_patch": ".pair_patch:PairPatch",
        "spatial": ".spatial:Spatial",
        "universal": ".universal:Universal",
        "universal_patch": ".universal_patch:UniversalPatch",
        "universal_mixed": ".universal_mixed:UniversalMixed",
    },
    __package__,
)

TRIGGERS: "Registry[Trigger]" = Registry(
    "trigger",
    ".trigger:Trigger",
    {
        "patch": ".patch:Patch",
        "overlay": ".overlay:Overlay",
        "sinusoid": ".sinusoid:Sinusoid",
        "warp": ".warp:Warp",
        "added_pattern": ".added_pattern:AddedPattern",
    },
    __package__,
)

# Functions: they draw as many numbers as a perturbation has.
INITIALIZERS: Registry[Any] = Registry(
    "initializer of perturbations",
    "tensorflow:Tensor",
    {
        "zero": ".initializers:zero",
        "uniform": ".initializers:uniform",
        "normal": ".initializers:normal",
        "bernoulli": ".initializers:bernoulli",
        "laplace": ".initializers:laplace",
    },
    __package__,
)

OPTIMIZERS: "Registry[PerturbationOptimizer]" = Registry(
    "optimizer of perturbations",
    ".optimizers:PerturbationOptimizer",
    {
        "sign_adam": ".optimizers:SignAdam",
        "pgd": ".optimizers:ProjectedGradientDescent",
        "momentum": ".optimizers:Momentum",
        "adam": ".optimizers:Adam",
    },
    __package__,
)

get, names, settings = PERTURBATIONS.get, PERTURBATIONS.names, PERTURBATIONS.settings
register = PERTURBATIONS.register
