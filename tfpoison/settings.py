"""Settings declared once: a field's name, type, default, range, choices and one sentence.

Checks, flags, help and tables of the documents come from the fields. Nothing heavy is imported.
"""

import dataclasses
import importlib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any

from tfpoison.checks import check_bool, check_name, check_number, make_plain

# TensorFlow counts in 32 bits.
LARGEST = 2**31 - 1
_RULE = "tfpoison setting"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the values of a setting may be, and the sentence that says what it is.

    Attributes:
        text: one sentence; says what None stands for where that is the default.
        minimum: the least number; that of a list holds for each of its entries.
        above: what numbers must be greater than.
        maximum: the greatest number; None for any, and for whole ones `LARGEST`.
        choices: the names to choose from, or `"module:table"`, a table of them or a function that
            returns them, which is looked up when it is needed.
        expressions: whether a choice may have settings, NAME(setting=value;setting=value); the
            choices are a registry.
        flag: the name of the setting's flag where that is not the field's.
    """

    text: str
    minimum: float = -math.inf
    above: float = -math.inf
    maximum: float | None = None
    choices: Iterable[str] | str | None = None
    expressions: bool = False
    flag: str | None = None

    def names(self) -> list[str]:
        """Returns the names to choose from; none where any text will do."""
        table = self._table()
        return list(table() if callable(table) else table)

    def _table(self) -> Any:
        if not isinstance(self.choices, str):
            return self.choices or ()
        module, _, name = self.choices.partition(":")
        return getattr(importlib.import_module(module), name)

    def check(self, name: str, value: Any, kind: type) -> None:
        """Raises ValueError or TypeError where one value of that kind cannot be."""
        if kind is bool:
            check_bool(name, value)
        elif kind is not str:
            most = LARGEST if kind is int else math.inf
            check_number(
                name,
                value,
                minimum=self.minimum,
                above=self.above,
                maximum=most if self.maximum is None else self.maximum,
                whole=kind is int,
            )
        elif not isinstance(value, str):
            raise TypeError(f"Expected `{name}` to be text. Received: {name}={value!r}")
        elif self.expressions and "(" in value:
            self._table().get(value)
        elif self.choices is not None:
            check_name(f"`{name}`", value, self.names())


def setting(default: Any, text: str, **rule: Any) -> Any:
    """Returns a field of a dataclass of `Settings`; with the default None it may be left open.

    Args:
        text: one sentence about it.
        **rule: the other attributes of `Rule`.
    """
    return dataclasses.field(default=default, metadata={_RULE: Rule(text, **rule)})


def same_setting(settings: type, name: str, default: Any) -> Any:
    """Returns a field as a dataclass of settings declares it, with a default of its own."""
    (known,) = (field for field in dataclasses.fields(settings) if field.name == name)
    return dataclasses.field(default=default, metadata=known.metadata)


class Settings:
    """Base of frozen dataclasses whose fields are made by `setting`; all are checked when made."""

    def __post_init__(self) -> None:
        make_plain(self)
        for field in declared(type(self)):
            value, (kind, count) = getattr(self, field.name), kind_of(field)
            if value is None and types.NoneType in typing.get_args(field.type):
                continue
            if count is not None:
                _check_count(field.name, value, count)
            for each in [value] if count is None else value:
                rule_of(field).check(field.name, each, kind)


def declared(settings: type) -> list[dataclasses.Field]:
    """Returns the fields of a dataclass that `setting` has made."""
    return [field for field in dataclasses.fields(settings) if _RULE in field.metadata]


def rule_of(field: dataclasses.Field) -> Rule:
    """Returns what `setting` was told about a field."""
    return field.metadata[_RULE]


def kind_of(field: dataclasses.Field) -> tuple[type, int | None]:
    """Returns the type of a setting's values, and their number: None for one, 0 for any."""
    kind: Any = field.type
    if isinstance(kind, types.UnionType):
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    if typing.get_origin(kind) is not tuple:
        return kind, None
    kinds = typing.get_args(kind)
    return kinds[0], 0 if Ellipsis in kinds else len(kinds)


def _check_count(name: str, value: Any, count: int) -> None:
    if not isinstance(value, tuple | list) or count not in (0, len(value)):
        expected = f"a tuple of {count}" if count else "a tuple"
        raise TypeError(f"Expected `{name}` to be {expected}. Received: {name}={value!r}")
