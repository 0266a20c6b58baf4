"""Saved models are found by Keras although the package's classes are imported when first used."""

import dataclasses
import importlib.abc
import importlib.util
import sys
from typing import Any

# What a file of Keras may name by itself: a model, and the optimizer of a plain network.
_CLASSES = {
    "RobustModel": "tfpoison.training.robust_model:RobustModel",
    "GradientShaping": "tfpoison.defenses.gradient_shaping:GradientShaping",
    "DPSGD": "tfpoison.defenses.gradient_shaping:GradientShaping",
}


@dataclasses.dataclass(frozen=True)
class _StandIn:
    """Stands for a class until that is imported, which then takes its place."""

    place: str

    def from_config(self, config: dict[str, Any]) -> Any:
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name).from_config(config)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Has stand-ins registered as soon as Keras is imported."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("keras")
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: Any) -> None:
                run(module)
                _register()

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec


def register() -> None:
    """Makes models that hold the package's classes loadable, without importing any of them."""
    if hasattr(sys.modules.get("keras"), "saving"):
        _register()
    else:
        sys.meta_path.insert(0, _AfterKeras())


def _register() -> None:
    known: Any = sys.modules["keras"].saving.get_custom_objects()
    for name, place in _CLASSES.items():
        known.setdefault(f"tfpoison>{name}", _StandIn(place))
