"""The defenses by name, or an expression such as `mixup(ways=4)+epic`."""

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tfpoison import expression
from tfpoison.attacks.zoo import ATTACKS
from tfpoison.checks import check_name
from tfpoison.defenses.filters.table import FILTERS
from tfpoison.defenses.mixing.table import MIXINGS
from tfpoison.defenses.revisions.table import REVISIONS
from tfpoison.defenses.transforms.table import TRANSFORMS
from tfpoison.registry import Registry, load

if TYPE_CHECKING:
    from tfpoison.defenses.defense import Defense

# Parts with tables of their own: each of them alone is a defense as well.
_PARTS: dict[str, Registry] = {
    "transform": TRANSFORMS,
    "mixing": MIXINGS,
    "filters": FILTERS,
    "revision": REVISIONS,
}
# What a defense was called before: recorded configurations name it so.
_EARLIER_NAMES = {"dp_sgd": "gradient_shaping"}


class DefenseRegistry(Registry["Defense"]):
    """The defenses by name: its own, those of the tables of parts, and attacks.

    An attack's name, which need not be among `names()`, stands for adversarial poisoning with it.
    """

    def __iter__(self) -> Iterator[str]:
        of_parts = [name for table in _PARTS.values() for name in table]
        return iter(dict.fromkeys([*self._makers, *of_parts]))

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        self.check(name)
        name = _EARLIER_NAMES.get(name, name)
        if name in self._makers:
            return super().__getitem__(name)
        for kind, table in _PARTS.items():
            if name in table:
                return load(".makers:part", __package__)(kind, table, name)
        return load(".makers:crafting_with", __package__)(name)

    def check(self, name: Any) -> None:
        """Raises ValueError unless it is the name of a defense, or of an attack."""
        check_name(self.family, _EARLIER_NAMES.get(name, name), [*self, *ATTACKS])

    def settings(self, name: str, **given: Any) -> dict[str, Any]:
        """Returns the settings of the defense of that name, with their defaults.

        Others depend on the `attack` of adversarial poisoning, the `kind` of noise.
        """
        maker = self[name]
        return maker.settings(**given) if hasattr(maker, "settings") else super().settings(name)

    def get(self, identifier: Any, **settings: Any) -> Any:
        """Returns a defense by its name; an expression may be several with `+` between, combined.

        Of several filters each looks at everything, and what any of them suspects is left out. Of
        several attacks each has its part of every batch.

        Raises:
            ValueError: a name is unknown, a defense has no such setting or one that cannot be, or
                defenses other than filters and attacks that act in the same way are combined.
            TypeError: the identifier is none of these, or a setting has the wrong type.
        """
        if isinstance(identifier, str) and len(expression.split(identifier)) > 1 and not settings:
            return self.build(self.parse(identifier))
        return super().get(identifier, **settings)

    def parse(self, text: str) -> list[tuple[str, dict[str, Any]]]:
        """Returns the names in an expression, each with its settings, or raises ValueError."""
        parts = [expression.parse(part, self.one) for part in expression.split(text)]
        for name, _ in parts:
            self.check(name)
        return parts

    def build(self, parts: list[tuple[str, dict[str, Any]]]) -> "Defense":
        """Returns the defenses of these names and settings, combined; raises what `get` raises."""
        made = (self.get(name, **given) for name, given in parts)
        return functools.reduce(lambda first, second: first.combine(second), made)


DEFENSES = DefenseRegistry(
    "defense",
    ".defense:Defense",
    {
        "none": ".makers:NONE",
        "adversarial_poisoning": ".makers:ADVERSARIAL_POISONING",
        "evasion": ".makers:EVASION",
        "noise": ".makers:NOISE",
        "gradient_shaping": ".makers:GRADIENT_SHAPING",
        "friendly_noise": ".makers:FRIENDLY_NOISE",
    },
    __package__,
)

get, names, settings = DEFENSES.get, DEFENSES.names, DEFENSES.settings
register = DEFENSES.register
from_text, parse, build = DEFENSES.get, DEFENSES.parse, DEFENSES.build


def is_crafting(name: str) -> bool:
    """Returns whether the name stands for adversarial poisoning, by whatever attack."""
    return name in ("adversarial_poisoning", *ATTACKS)
