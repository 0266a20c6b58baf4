"""One way to reach parts by name, and to enter one's own."""

import dataclasses
import fractions

import pytest

from tfpoison.registry import Registry, load


def make_registry():
    return Registry(
        "number",
        "fractions:Fraction",
        {"fraction": "fractions:Fraction", "whole": "fractions:Fraction.from_decimal"},
    )


def half(numerator=1):
    return fractions.Fraction(numerator, 2)


def test_an_identifier_is_a_name_an_expression_an_object_or_none():
    registry = make_registry()
    third = fractions.Fraction(1, 3)
    assert registry.get("fraction") == 0
    assert registry.get("fraction", numerator=1, denominator=3) == third
    assert registry.get("fraction(numerator=1;denominator=3)") == third
    assert registry.get("fraction(numerator=1;denominator=2)", denominator=3) == third
    assert registry.get(third) is third
    assert registry.get(None) is None


@pytest.mark.parametrize(
    ("identifier", "settings", "error", "message"),
    [
        ("fractoin", {}, ValueError, "Unknown number.*Did you mean 'fraction'"),
        ("fraction", {"numertor": 1}, ValueError, "setting of the number 'fraction'.*'numerator'"),
        ("fraction(numertor=1)", {}, ValueError, "setting of the number 'fraction'"),
        ("fraction-", {}, ValueError, "Expected a number as NAME"),
        (
            2,
            {},
            TypeError,
            "name of a number, an object of the class Fraction, or None.*Received: 2",
        ),
        (fractions.Fraction(1), {"numerator": 1}, ValueError, "beside the name of a number alone"),
        (None, {"numerator": 1}, ValueError, "Received: None with numerator"),
    ],
)
def test_other_identifiers(identifier, settings, error, message):
    with pytest.raises(error, match=message):
        make_registry().get(identifier, **settings)


def test_makers_by_name():
    registry = make_registry()
    assert registry["fraction"] is fractions.Fraction
    with pytest.raises(ValueError, match="Unknown number"):
        registry["nothing"]


def test_settings_are_keyword_arguments_with_their_defaults():
    @dataclasses.dataclass
    class Pair:
        first: int
        second: int = 2

    registry = make_registry()
    registry.register("half")(half)
    registry.register("pair")(Pair)
    assert registry.settings("half") == {"numerator": 1}
    assert list(registry.settings("pair")) == ["first", "second"]
    assert registry.settings("pair")["second"] == 2


def test_a_part_of_ones_own():
    registry = make_registry()
    assert registry.register("half")(half) is half
    assert registry.names() == list(registry) == ["fraction", "whole", "half"]
    assert "half" in registry
    assert registry.get("half(numerator=3)") == fractions.Fraction(3, 2)
    registry.register("half")(half)  # As a module does that is imported again.
    with pytest.raises(
        ValueError, match=r"a number does not have yet\. Received: 'half'.*fraction"
    ):
        registry.register("half")(lambda: half())
    with pytest.raises(ValueError, match="a number does not have yet"):
        registry.register("fraction")(half)
    with pytest.raises(TypeError, match=r"registered as 'three'\. Received: 3"):
        registry.register("three")(3)
    for name in ("a half", "half()", "", None):
        with pytest.raises(ValueError, match="letters, digits and underscores"):
            registry.register(name)


def test_nothing_is_imported_for_a_look_at_the_names():
    registry = Registry("part", "no_such_module:Part", {"part": "no_such_module:Part"})
    registry.check("part")
    assert registry.names() == ["part"]
    with pytest.raises(ModuleNotFoundError):
        registry.get("part")


def test_load():
    assert load("fractions:Fraction.from_float") == fractions.Fraction.from_float
