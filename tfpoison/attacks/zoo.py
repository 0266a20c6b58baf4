"""The zoo: every attack of the paper and of its authors' code, as objective × perturbation."""

import dataclasses
from typing import Any

from tfpoison.attacks.attack import Attack
from tfpoison.checks import check_name
from tfpoison.configurable import Configurable
from tfpoison.objectives import (
    ConvexPolytope,
    Evasion,
    FeatureCollision,
    GradientMatching,
    GradientMatchingFast,
    GradientMatchingSquaredError,
    HiddenTrigger,
    MetaPoison,
    Objective,
)
from tfpoison.perturbations import (
    Additive,
    AdditiveWithTriggeredTargets,
    Blend,
    ClassPatch,
    PairPatch,
    Perturbation,
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """An attack of the zoo: its parts, and the defaults in which it differs from theirs."""

    perturbation: type[Perturbation]
    objective: type[Objective] | None = None
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Returns the attack's settings with their defaults."""
        parts = [self.perturbation, *([self.objective] if self.objective else [])]
        settings = {name: default for part in parts for name, default in part.settings().items()}
        loop = Attack.settings()
        names = ["poison_fraction"]
        if self.objective:
            names += ["steps", "optimizer", "step_size"]
        return settings | {name: loop[name] for name in names} | self.defaults

    def build(self, settings: dict[str, Any]) -> Attack:
        """Returns the attack with settings in place of its defaults."""
        settings = self.settings() | settings

        def take(kind: type[Configurable]) -> dict[str, Any]:
            return {name: settings[name] for name in kind.settings() if name in settings}

        return Attack(
            perturbation=self.perturbation(**take(self.perturbation)),
            objective=self.objective(**take(self.objective)) if self.objective else None,
            **take(Attack),
        )


_HALF = {"poison_fraction": 0.5}

_ZOO = {
    "gradient_matching": Entry(Additive, GradientMatching),
    "gradient_matching_se": Entry(Additive, GradientMatchingSquaredError),
    "gradient_matching_fast": Entry(Additive, GradientMatchingFast, {"steps": 1}),
    "metapoison": Entry(Additive, MetaPoison),
    "feature_collision": Entry(Additive, FeatureCollision),
    "convex_polytope": Entry(Additive, ConvexPolytope),
    "hidden_trigger": Entry(AdditiveWithTriggeredTargets, HiddenTrigger, _HALF),
    "watermark": Entry(Blend),
    "evasion": Entry(Additive, Evasion, {"poison_fraction": 1.0}),
    "noise_uniform": Entry(Additive, None, {"initializer": "uniform"}),
    "noise_normal": Entry(Additive, None, {"initializer": "normal"}),
    "noise_laplace": Entry(Additive, None, {"initializer": "laplace"}),
    "noise_bernoulli": Entry(Additive, None, {"initializer": "bernoulli"}),
    "patch": Entry(ClassPatch, None, _HALF),
    "patch_fixed_place": Entry(ClassPatch, None, _HALF | {"place": "class"}),
    "patch_known_size": Entry(ClassPatch, None, _HALF | {"patch_size": 4}),
    "patch_image": Entry(ClassPatch, None, _HALF | {"pattern": "image"}),
    "patch_pairs": Entry(PairPatch, None, _HALF),
    "patch_adaptive": Entry(ClassPatch, GradientMatching, _HALF),
    "patch_adaptive_unpaired": Entry(
        ClassPatch, GradientMatching, _HALF | {"same_on_targets": False}
    ),
}


def names() -> list[str]:
    """Returns the names of the attacks."""
    return list(_ZOO)


def settings(name: str) -> dict[str, Any]:
    """Returns the settings of the attack of that name with their defaults.

    Raises:
        ValueError: the name is unknown.
    """
    check_name("attack", name, names())
    return _ZOO[name].settings()


def get(name: str, **settings: Any) -> Attack:
    """Returns the attack of that name.

    Args:
        name: one of `names()`.
        **settings: those of the attack's perturbation, of its objective and of the crafting loop
            that should differ from their defaults: `epsilon`, `steps`, `step_size`, `optimizer`,
            `initializer`, `poison_fraction`, …; `tfpoison.attacks.settings(name)` lists them.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: the name is unknown, the attack has no such setting, or the setting's value
            cannot be.
    """
    check_name("attack", name, names())
    entry = _ZOO[name]
    for setting in settings:
        check_name(f"setting of the attack {name!r}", setting, entry.settings())
    return entry.build(settings)
