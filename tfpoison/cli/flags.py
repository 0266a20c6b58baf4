"""The command line read: absl's flags from the groups' fields, and settings from the flags."""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from absl import flags

from tfpoison.checks import suggestion
from tfpoison.cli.flagfiles import expand
from tfpoison.cli.groups import GROUPS, Group
from tfpoison.settings import Settings, kind_of, rule_of

Described = TypeVar("Described")

# A setting as messages name it: `name`, name=value, or the name alone that was received. Not those
# in an expression, NAME(setting=value;setting=value).
_NAMED = re.compile(r"`(\w+)`|(?<![\w(;-])(\w+)(?==)|(?<=Received: )'(\w+)'")
_EXPECTED = {
    bool: "true or false",
    int: "an integer",
    float: "a number, as 0.25 or 8/255",
    str: "text in UTF-8 and not an empty one; leave the flag out for the default",
}


class CommandLine:
    """What a command line says: `line[flag]` is the value of a flag.

    Raises:
        ValueError: a flag is unknown or has a value of the wrong type, or a file cannot be read.
    """

    def __init__(self, arguments: Sequence[str]):
        self._values = flags.FlagValues()
        for name, field, group in all_flags():
            (kind, count), default = kind_of(field), group.default(field)
            self._values[name] = flags.Flag(
                _Values(kind, count), None, name, default, rule_of(field).text, boolean=kind is bool
            )
        self._values["help"] = flags.Flag(_Topic(), None, "help", None, "", "h", boolean=True)
        flags.DEFINE_boolean("version", False, "", flag_values=self._values)
        try:
            left = self._values(["tfpoison", *expand(arguments)])[1:]
        except flags.UnrecognizedFlagError as error:
            known = [f"--{name}" for name in self._values]
            raise ValueError(
                f"Unknown flag --{error.flagname}.{suggestion(f'--{error.flagname}', known)} "
                "--help shows what there is."
            ) from error
        except flags.Error as error:
            raise ValueError(_explain(error)) from error
        if left:
            raise ValueError(f"Expected flags alone, --name=value. Received: {' '.join(left)}")

    def __getitem__(self, name: str) -> Any:
        return self._values[name].value

    def is_set(self, name: str) -> bool:
        """Returns whether a flag asks for anything: a configuration names the defaults too."""
        return self.is_present(name) and self[name] != self._values[name].default

    def is_present(self, name: str) -> bool:
        """Returns whether a flag stands on the command line, or in a flagfile."""
        return self._values[name].present > 0

    def given(self, *groups: str) -> dict[str, Any]:
        """Returns the fields of groups whose flags have a value, given or by default."""
        return {
            field.name: self[name]
            for group in groups
            for name, field in GROUPS[group].flags().items()
            if self[name] is not None
        }

    def make(self, kind: type[Described], **more: Any) -> Described:
        """Returns the object that the flags describe.

        Args:
            kind: a dataclass of settings; or one whose fields are such, or flags of their names.
            **more: its other fields.
        """
        groups = [key for key, group in GROUPS.items() if group.settings is kind]
        given = self.given(*groups)
        for field in [] if groups else dataclasses.fields(kind):  # type: ignore[arg-type]
            if isinstance(field.type, type) and issubclass(field.type, Settings):
                given[field.name] = more.get(field.name) or self.make(field.type)
            elif field.name in self._values:
                given[field.name] = self[field.name]
        with in_flags(flag_names(*groups)):
            return kind(**given | more)

    def refuse(self, names: Iterable[str], expected: str) -> None:
        """Raises ValueError, with what was expected, where one of these flags is set."""
        if present := [f"--{name}" for name in names if self.is_set(name)]:
            raise ValueError(f"{expected} Received: {', '.join(present)}")


def all_flags() -> Iterator[tuple[str, dataclasses.Field, Group]]:
    """Yields every flag's name with its field and its group."""
    for group in GROUPS.values():
        for name, field in group.flags().items():
            yield name, field, group


def flag_names(*groups: str) -> dict[str, str]:
    """Returns the names of flags by those of their fields; of two, that which is the field's."""
    pairs = [pair for group in groups for pair in GROUPS[group].flags().items()]
    pairs.sort(key=lambda pair: pair[0] == pair[1].name)
    return {field.name: name for name, field in pairs}


@contextlib.contextmanager
def in_flags(names: Mapping[str, str]) -> Iterator[None]:
    """Has errors about settings speak of their flags, by the names of the settings."""

    def speak(found: re.Match[str]) -> str:
        name = next(filter(None, found.groups()))
        return f"--{names[name]}" if name in names else found[0]

    try:
        yield
    except (ValueError, TypeError) as error:
        if len(error.args) == 1:
            error.args = (_NAMED.sub(speak, str(error)),)
        raise


class _Topic(flags.ArgumentParser):
    """`--help`, or `--help=NAME`."""

    def parse(self, argument: Any) -> str | None:
        return None if argument in (None, "false") else argument

    def flag_type(self) -> str:
        return "text"


class _Values(flags.ArgumentParser):
    """Turns the text of a flag into a value, or the values, of a setting."""

    def __init__(self, kind: type, count: int | None):
        super().__init__()
        self._kind, self._count = kind, count

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):
            return argument  # A default.
        if self._count is None:
            return self._parse_one(argument)
        entries = [each.strip() for each in argument.split(",")] if argument.strip() else []
        if self._count not in (0, len(entries)):
            raise ValueError(self.flag_type())
        return tuple(map(self._parse_one, entries))

    def _parse_one(self, text: str) -> Any:
        try:
            if self._kind is bool:
                return flags.BooleanParser().parse(text)
            if self._kind is float:
                numerator, slash, denominator = text.partition("/")
                return float(numerator) / float(denominator) if slash else float(text)
            if self._kind is str and not text.encode().strip():
                raise ValueError("empty")
            return self._kind(text)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(self.flag_type()) from error

    def flag_type(self) -> str:
        """Returns what is expected."""
        if self._count is None:
            return _EXPECTED[self._kind]
        entries = "whole numbers" if self._kind is int else "names"
        return f"{self._count or ''} {entries} with commas between".lstrip()


def _explain(error: flags.Error) -> str:
    """Returns what is told of absl's error about a flag's value."""
    text = " ".join(str(error).split())
    wrong = re.fullmatch(r"flag --(\w+)=(.*): (.*?)", text)
    return f"Expected --{wrong[1]} to be {wrong[3]}. Received: {wrong[2]!r}" if wrong else text
