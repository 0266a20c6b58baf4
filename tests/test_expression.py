"""Parts as a user writes them."""

import pytest

from tfpoison import expression


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("mixup", ("mixup", {})),
        (" mixup ( ways = 4 ) ", ("mixup", {"ways": 4})),
        ("mixup()", ("mixup", {})),
        ("noise(kind=laplace;epsilon=8/255)", ("noise", {"kind": "laplace", "epsilon": 8 / 255})),
        ("part(a=true;b=false;c=None;)", ("part", {"a": True, "b": False, "c": None})),
        ("part(a=(1, 2);b='x y';c=1e-3)", ("part", {"a": (1, 2), "b": "x y", "c": 0.001})),
        ("part(a=1/0;b=-1/2)", ("part", {"a": "1/0", "b": "-1/2"})),
        ("part(a=b=c)", ("part", {"a": "b=c"})),
        ("part(a=b(c=1;d=2);e=3)", ("part", {"a": "b(c=1;d=2)", "e": 3})),
    ],
)
def test_parse(text, parsed):
    assert expression.parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"Expected a part as NAME, or NAME\(setting=value;setting=value\). Received: ''"),
        ("a-b", "Expected a part as NAME"),
        ("mixup(ways=4", "Expected a part as NAME"),
        ("mixup(ways)", r"name=value with ; between. Received: 'ways' in 'mixup\(ways\)'"),
        ("mixup(=4)", "name=value"),
        ("mixup(ways=)", "name=value"),
        ("mixup(ways=4;ways=4)", "Expected every setting once. Received ways twice"),
    ],
)
def test_what_is_no_expression(text, message):
    with pytest.raises(ValueError, match=message):
        expression.parse(text)


def test_split_leaves_settings_alone():
    assert expression.split("a") == ["a"]
    assert expression.split("a(x=1+2)+b") == ["a(x=1+2)", "b"]
    assert expression.split("a(x=b(y=1)+c)+d") == ["a(x=b(y=1)+c)", "d"]
    assert expression.split("a+") == ["a", ""]


def test_names():
    assert [
        each for each in ("a", "a_1", "", "a b", "a-b", 3, None) if expression.is_name(each)
    ] == [
        "a",
        "a_1",
    ]
