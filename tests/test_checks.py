"""Checks at the door."""

import dataclasses

import numpy as np
import pytest

from tfpoison.checks import check_bool, check_name, check_number, make_plain


@pytest.mark.parametrize("value", [0.0, 0.5, 1, 1.0, np.float32(0.5), np.int64(1), np.uint8(0)])
def test_numbers_that_pass(value):
    check_number("share", value, minimum=0, maximum=1)


@pytest.mark.parametrize(
    ("value", "settings", "error", "message"),
    [
        (-0.1, {}, ValueError, "at least 0 and at most 1. Received: share=-0.1"),
        (1.1, {}, ValueError, "at most 1"),
        (float("nan"), {}, ValueError, "at most 1"),
        (0, {"exclusive_minimum": True}, ValueError, "above 0"),
        ("1", {}, TypeError, "a number. Received: share='1'"),
        (True, {}, TypeError, "a number"),
        (0.5, {"whole": True}, TypeError, "an integer"),
        (None, {}, TypeError, "a number"),
        (np.bool_(True), {}, TypeError, "a number"),
        (np.float32(1), {"whole": True}, TypeError, "an integer"),
        (np.float32("nan"), {}, ValueError, "at most 1"),
        (np.array([0.5]), {}, TypeError, "a number"),
        (0.5j, {}, TypeError, "a number"),
    ],
)
def test_numbers_that_do_not(value, settings, error, message):
    with pytest.raises(error, match=message):
        check_number("share", value, minimum=0, maximum=1, **settings)


def test_numbers_of_numpy_become_pythons():
    @dataclasses.dataclass(frozen=True)
    class Settings:
        steps: int
        rate: float
        name: str = "a"

    settings = Settings(np.int16(3), np.float32(0.5))
    make_plain(settings)
    assert settings == Settings(3, 0.5)
    assert [type(each) for each in dataclasses.astuple(settings)] == [int, float, str]


def test_truths():
    check_bool("flip", False)
    for value in ("false", 0, None):
        with pytest.raises(TypeError, match=r"`flip` to be True or False. Received: flip="):
            check_bool("flip", value)


def test_names():
    check_name("attack", "patch", ["patch", "evasion"])
    with pytest.raises(ValueError, match=r"one of: evasion, patch\..*mean 'patch'"):
        check_name("attack", "pacth", ["patch", "evasion"])
    with pytest.raises(ValueError, match=r"Received: 3\.$"):
        check_name("attack", 3, ["patch"])
