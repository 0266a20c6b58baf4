"""Parts by name: a table for each family, which users' own parts enter as well."""

import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from tfpoison import expression
from tfpoison.checks import check_name

Part = TypeVar("Part")
Maker = TypeVar("Maker", bound=Callable[..., Any])


class Registry(Generic[Part]):
    """The parts of one family by name: attacks, objectives, defenses, networks.

    A maker is a class or a function whose keyword arguments are the part's settings. The package's
    own stand as text, `"module:name"`, so that names are known before anything heavy is imported.
    `registry[name]` is the maker of that name.

    Args:
        family: what one of them is called in messages.
        kind: the class of the parts, as `"module:name"`.
        makers: the package's own, name → `"module:name"`, or the maker itself.
        package: what the names of modules that begin with a dot are relative to.
    """

    def __init__(
        self,
        family: str,
        kind: str,
        makers: Mapping[str, str | Callable[..., Any]],
        package: str | None = None,
    ):
        self.family = family
        self.one = f"{'an' if family[0] in 'aeiou' else 'a'} {family}"
        self._kind = kind
        self._package = package
        self._makers = dict(makers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __getitem__(self, name: str) -> Callable[..., Any]:
        self.check(name)
        maker = self._makers[name]
        return load(maker, self._package) if isinstance(maker, str) else maker

    def names(self) -> list[str]:
        """Returns all names: the package's own, then those that were registered."""
        return list(self)

    def places(self) -> list[str]:
        """Returns where the package's own makers lie, as `"module:name"`."""
        texts = [each for each in self._makers.values() if isinstance(each, str)]
        return [importlib.util.resolve_name(each, self._package) for each in texts]

    def check(self, name: Any) -> None:
        """Raises ValueError unless a part has that name; imports nothing."""
        check_name(self.family, name, self)

    def register(self, name: str) -> Callable[[Maker], Maker]:
        """Returns a decorator that enters a class or a function under a name.

        Raises:
            TypeError: what is decorated cannot be called.
            ValueError: the name cannot be written in an expression, or is taken by another.
        """
        if not expression.is_name(name):
            raise ValueError(
                f"Expected the name of {self.one} to be letters, digits and underscores. "
                f"Received: {name!r}"
            )

        def enter(maker: Maker) -> Maker:
            if not callable(maker):
                raise TypeError(
                    f"Expected a class or a function that makes {self.one}, to be registered as "
                    f"{name!r}. Received: {maker!r}"
                )
            if name in self and self._makers.get(name) is not maker:
                raise ValueError(
                    f"Expected a name that {self.one} does not have yet. Received: {name!r}. "
                    f"Taken are: {', '.join(self)}"
                )
            self._makers[name] = maker
            return maker

        return enter

    def settings(self, name: str, **given: Any) -> dict[str, Any]:
        """Returns the settings of the part of that name, with their defaults.

        `inspect.Parameter.empty` stands where there is no default. Settings on which others depend
        may be given.
        """
        maker = self[name]
        if hasattr(maker, "settings"):
            return maker.settings()
        parameters = inspect.signature(maker).parameters.values()
        return {each.name: each.default for each in parameters}

    @overload
    def get(self, identifier: None) -> None: ...
    @overload
    def get(self, identifier: str | Part, **settings: Any) -> Part: ...
    def get(self, identifier: str | Part | None, **settings: Any) -> Part | None:
        """Returns a part by its name; None for None.

        Args:
            identifier: a name; an expression `NAME(setting=value;setting=value)`; a part, which is
                returned as it is; or None for none.
            **settings: with a name: those that should differ from their defaults. `settings(name)`
                lists them.

        Raises:
            ValueError: the name is unknown, the part has no such setting, or the setting's value
                cannot be.
            TypeError: the identifier is none of these, or a setting has the wrong type.
        """
        if isinstance(identifier, str):
            name, own = expression.parse(identifier, self.one)
            return self._make(name, own | settings)
        if identifier is not None and not isinstance(identifier, load(self._kind, self._package)):
            raise TypeError(
                f"Expected the name of {self.one}, an object of the class "
                f"{self._kind.rpartition(':')[2]}, or None. Received: {identifier!r}"
            )
        if settings:
            raise ValueError(
                f"Expected settings beside the name of {self.one} alone. Received: "
                f"{identifier!r} with {', '.join(sorted(settings))}"
            )
        return identifier

    def _make(self, name: str, settings: dict[str, Any]) -> Part:
        maker = self[name]
        known = self.settings(name, **settings)
        for setting in settings:
            check_name(f"setting of the {self.family} {name!r}", setting, known)
        return maker(**settings)


def load(place: str, package: str | None = None) -> Any:
    """Returns the object at `"module:name"`; the name may have dots."""
    module, _, name = place.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module, package))
