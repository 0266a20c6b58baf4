"""Parts as a user writes them: `NAME`, or `NAME(setting=value;setting=value)`."""

import ast
import re
from typing import Any

_NAME = re.compile(r"\w+")
_NAME_AND_SETTINGS = re.compile(r"\s*(\w+)\s*(?:\((.*)\))?\s*")
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")
_TRUTHS = {"true": True, "false": False}


def is_name(text: object) -> bool:
    """Returns whether a text can stand for a part in an expression."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def split(text: str) -> list[str]:
    """Returns the parts of an expression with `+` between."""
    return _split_outside_brackets(text, "+")


def parse(text: str, what: str = "a part") -> tuple[str, dict[str, Any]]:
    """Returns the name in an expression for `what`, and its settings.

    A value is a Python literal, `true` or `false`, a fraction such as `16/255`, or else a name or
    an expression.

    Raises:
        ValueError: the text is no such expression, or tells a setting twice.
    """
    found = _NAME_AND_SETTINGS.fullmatch(text)
    if found is None:
        raise ValueError(
            f"Expected {what} as NAME, or NAME(setting=value;setting=value). Received: {text!r}"
        )
    settings: dict[str, Any] = {}
    for each in filter(str.strip, _split_outside_brackets(found[2] or "", ";")):
        name, equals, value = (part.strip() for part in each.partition("="))
        if not (name and equals and value):
            raise ValueError(
                f"Expected settings as name=value with ; between. Received: {each!r} in {text!r}"
            )
        if name in settings:
            raise ValueError(f"Expected every setting once. Received {name} twice in {text!r}")
        settings[name] = parse_value(value)
    return found[1], settings


def _split_outside_brackets(text: str, sign: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == sign and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def parse_value(text: str) -> Any:
    """Returns the Python literal, the fraction or the truth that the text is, or else the text."""
    if text in _TRUTHS:
        return _TRUTHS[text]
    if fraction := _FRACTION.fullmatch(text):
        numerator, denominator = (float(each) for each in fraction.groups())
        return numerator / denominator if denominator else text
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
