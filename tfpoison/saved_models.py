"""Saved models are loaded although what they are made of is imported when first used.

Keras loads what is registered with it, and a class is registered when its module is imported. Until
then a stand-in is registered for it, as soon as Keras is there; it imports the class when needed.
"""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from tfpoison.registry import load

# Where the classes are told that a saved model may hold.
_TABLES = (
    "tfpoison.objectives.table:OBJECTIVES",
    "tfpoison.perturbations.table:PERTURBATIONS",
    "tfpoison.perturbations.table:TRIGGERS",
    "tfpoison.defenses.transforms.table:TRANSFORMS",
    "tfpoison.defenses.mixing.table:MIXINGS",
    "tfpoison.defenses.filters.table:FILTERS",
    "tfpoison.defenses.revisions.table:REVISIONS",
)
# Those of no table.
_OTHERS = {
    "RobustModel": "tfpoison.training.robust_model:RobustModel",
    "Attack": "tfpoison.attacks.attack:Attack",
    "CompositeAttack": "tfpoison.attacks.composite_attack:CompositeAttack",
    "GradientShaping": "tfpoison.defenses.gradient_shaping:GradientShaping",
    "Shaping": "tfpoison.defenses.gradient_shaping:Shaping",
    "DPSGD": "tfpoison.defenses.gradient_shaping:GradientShaping",
    "PatchWhitening": "tfpoison.networks.convnet_fast:PatchWhitening",
    "Dirac": "tfpoison.networks.convnet_fast:Dirac",
    "Triangle": "tfpoison.fitting.optimization:Triangle",
    "CarliniWagner": "tfpoison.recipes.target_loss:CarliniWagner",
}


def register() -> None:
    """Registers stand-ins for the package's classes with Keras, now or when it is imported."""
    if hasattr(sys.modules.get("keras"), "saving"):
        _register()
    else:
        sys.meta_path.insert(0, _KerasFinder())


class _StandIn:
    def __init__(self, place: str):
        self._place = place

    def from_config(self, config: dict[str, Any]) -> Any:
        return load(self._place).from_config(config)


class _KerasFinder(importlib.abc.MetaPathFinder):
    """Finds Keras as Python does, and has the stand-ins registered after it is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "keras":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def announced() -> dict[str, str]:
    """Returns the names of the classes, and where they are: `"module:name"`."""
    found = [place for table in _TABLES for place in load(table).places()]
    return {place.partition(":")[2]: place for place in found} | _OTHERS


def _register() -> None:
    known: Any = sys.modules["keras"].saving.get_custom_objects()
    for name, place in announced().items():
        known.setdefault(f"tfpoison>{name}", _StandIn(place))
