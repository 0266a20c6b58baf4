"""JSON that every reader takes, and nothing else is written."""

import json
import pathlib

import pytest

import tfpoison
from tfpoison import valid_json


def test_numbers_that_are_not_finite_become_null():
    value = {"a": float("nan"), "b": [1.5, float("inf"), {"c": (float("-inf"), "NaN", None)}]}
    assert json.loads(valid_json.dumps(value)) == {
        "a": None,
        "b": [1.5, None, {"c": [None, "NaN", None]}],
    }
    assert valid_json.dumps({"b": 1, "a": 2}, sort_keys=True) == '{"a": 2, "b": 1}'


def test_what_is_no_json_at_all_is_refused():
    with pytest.raises(TypeError):
        valid_json.dumps({1, 2})


def test_no_other_module_writes_json():
    sources = pathlib.Path(tfpoison.__file__).parent.rglob("*.py")
    writers = [
        each.name for each in sources if "json.dump" in each.read_text().replace("valid_json", "")
    ]
    assert writers == ["valid_json.py"]
