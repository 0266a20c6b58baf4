"""Checks at the door."""

import dataclasses

import numpy as np
import pytest

from tfpoison.checks import check_array, check_bool, check_name, check_number, make_plain


@pytest.mark.parametrize("value", [0.0, 0.5, 1, 1.0, np.float32(0.5), np.int64(1), np.uint8(0)])
def test_numbers_that_pass(value):
    check_number("share", value, minimum=0, maximum=1)


@pytest.mark.parametrize(
    ("value", "settings", "error", "message"),
    [
        (-0.1, {}, ValueError, "at least 0 and at most 1. Received: share=-0.1"),
        (1.1, {}, ValueError, "at most 1"),
        (float("nan"), {}, ValueError, "at most 1"),
        (0, {"above": 0}, ValueError, "above 0"),
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


ARRAY = np.array([3, 1, 2])


@pytest.mark.parametrize(
    ("value", "settings", "error", "message"),
    [
        (ARRAY.tolist(), {}, TypeError, "`ids` to be a numpy array of int64 of shape .any,."),
        (ARRAY.astype("int32"), {}, ValueError, "Received: dtype int32, shape .3,."),
        (ARRAY.astype(">i8"), {}, ValueError, "Received: dtype >i8"),
        (ARRAY, {"shape": (None, 2)}, ValueError, r"of shape \(any, 2\)"),
        (ARRAY[:0], {"filled": True}, ValueError, "not empty"),
        (ARRAY, {"minimum": 2}, ValueError, "between 2 and inf. Received: values from 1 to 3"),
        (ARRAY, {"maximum": 2}, ValueError, "from 1 to 3"),
        (ARRAY, {"ascending": True}, ValueError, "to ascend"),
        (ARRAY / 1, {"dtype": np.integer}, ValueError, "a numpy array of integers"),
        (ARRAY / np.nan, {"dtype": np.floating}, ValueError, "to be finite"),
    ],
)
def test_arrays_that_do_not_pass(value, settings, error, message):
    with pytest.raises(error, match=message):
        check_array("ids", value, **{"dtype": np.int64, "shape": (None,)} | settings)


def test_arrays_that_pass():
    check_array("ids", ARRAY, np.int64, (3,), minimum=1, maximum=3, filled=True)
    check_array("ids", ARRAY.astype(">i2")[:0], np.integer, (None,), minimum=1)
    check_array("ids", ARRAY.astype("float16"), np.floating, (None,))


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
