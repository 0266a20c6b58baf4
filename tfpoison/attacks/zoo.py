"""The zoo: every attack of the paper and of its authors' code, as perturbation × objective."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tfpoison import expression
from tfpoison.objectives.table import OBJECTIVES
from tfpoison.perturbations.table import PERTURBATIONS
from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.attacks.attack import Attack


@dataclasses.dataclass(frozen=True)
class Combination:
    """What makes an attack of the names of a perturbation and of an objective, None for no steps.

    Attributes:
        defaults: settings whose defaults differ from those of the parts and of the loop.
    """

    perturbation: str
    objective: str | None = None
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def about(self) -> tuple[Any, ...]:
        """The classes whose docstrings say what the attack is."""
        objective = [OBJECTIVES[self.objective]] if self.objective else []
        return (PERTURBATIONS[self.perturbation], *objective)

    def settings(self) -> dict[str, Any]:
        """Returns the attack's settings with their defaults."""
        from tfpoison.attacks.attack import Attack

        loop = Attack.settings()
        names = ["poison_fraction"]
        known = PERTURBATIONS.settings(self.perturbation)
        if self.objective:
            known |= OBJECTIVES.settings(self.objective)
            names += ["steps", "optimizer", "step_size"]
        return known | {name: loop[name] for name in names} | self.defaults

    def __call__(self, **given: Any) -> "Attack":
        """Returns the attack with these settings in place of its defaults."""
        from tfpoison.attacks.attack import Attack

        settings = self.settings() | given

        def take(known: Iterable[str]) -> dict[str, Any]:
            return {name: settings[name] for name in known if name in settings}

        objective = None
        if self.objective:
            of_objective = take(OBJECTIVES.settings(self.objective))
            objective = OBJECTIVES.get(self.objective, **of_objective)
        of_perturbation = take(PERTURBATIONS.settings(self.perturbation))
        perturbation = PERTURBATIONS.get(self.perturbation, **of_perturbation)
        return Attack(perturbation, objective, **take(Attack.settings()))


class AttackRegistry(Registry[Any]):
    """The attacks by name, or an expression such as `patch+evasion(steps=1)`."""

    def get(self, identifier: Any, **settings: Any) -> Any:
        """Returns an attack by its name; several with `+` between are a `CompositeAttack`.

        Raises:
            ValueError: a name is unknown, an attack has no such setting or one that cannot be.
            TypeError: the identifier is none of these, or a setting has the wrong type.
        """
        parts = expression.split(identifier) if isinstance(identifier, str) else []
        if len(parts) < 2:
            return super().get(identifier, **settings)
        if settings:
            raise ValueError(
                "Expected the settings of each attack in brackets behind its name, where there are "
                f"several. Received: {identifier!r} with {', '.join(sorted(settings))}"
            )
        from tfpoison.attacks.composite_attack import CompositeAttack

        return CompositeAttack.of(*(self.get(part) for part in parts))


DEFAULT = "gradient_matching_last_layer"
"""What is crafted where nobody says what: for a sixth of the price of five exact steps."""

_HALF = {"poison_fraction": 0.5}
# A perturbation that is kept from step to step needs no more than one short step in each.
_PERSISTENT = {"steps": 1, "optimizer": "pgd", "step_size": 0.125}

ATTACKS = AttackRegistry(
    "attack",
    ".batch_attack:BatchAttack",
    {
        "gradient_matching": Combination("additive", "gradient_matching"),
        "gradient_matching_last_layer": Combination(
            "additive", "gradient_matching", {"steps": 1, "weights": "last"}
        ),
        "gradient_matching_se": Combination("additive", "gradient_matching_squared_error"),
        "gradient_matching_fast": Combination("additive", "gradient_matching_fast", {"steps": 1}),
        "metapoison": Combination("additive", "metapoison"),
        "feature_collision": Combination("additive", "feature_collision"),
        "convex_polytope": Combination("additive", "convex_polytope"),
        "hidden_trigger": Combination("additive_with_triggered_targets", "hidden_trigger", _HALF),
        "watermark": Combination("blend"),
        "evasion": Combination("additive", "evasion", {"poison_fraction": 1.0}),
        "evasion_spatial": Combination("spatial", "evasion", {"poison_fraction": 1.0}),
        "noise_uniform": Combination("additive", None, {"initializer": "uniform"}),
        "noise_normal": Combination("additive", None, {"initializer": "normal"}),
        "noise_laplace": Combination("additive", None, {"initializer": "laplace"}),
        "noise_bernoulli": Combination("additive", None, {"initializer": "bernoulli"}),
        "patch": Combination("class_patch", None, _HALF),
        "patch_fixed_place": Combination("class_patch", None, _HALF | {"place": "class"}),
        "patch_known_size": Combination("class_patch", None, _HALF | {"patch_size": 4}),
        "patch_image": Combination("class_patch", None, _HALF | {"pattern": "image"}),
        "patch_pairs": Combination("pair_patch", None, _HALF),
        "patch_adaptive": Combination("class_patch", "gradient_matching", _HALF),
        "patch_adaptive_unpaired": Combination(
            "class_patch", "gradient_matching", _HALF | {"same_on_targets": False}
        ),
        "universal": Combination("universal", "targeted_evasion", _HALF | _PERSISTENT),
        "universal_patch": Combination("universal_patch", "targeted_evasion", _HALF | _PERSISTENT),
        "universal_mixed": Combination(
            *("universal_mixed", "targeted_evasion"),
            # Each of both is on half of the images, and the patch moves by shares of ε as well.
            _PERSISTENT | {"poison_fraction": 1.0, "step_size": 0.5},
        ),
    },
    __package__,
)

get, names, settings = ATTACKS.get, ATTACKS.names, ATTACKS.settings
register = ATTACKS.register
