"""Settings are declared once, and checked by what their fields say."""

import dataclasses

import numpy as np
import pytest

from tfpoison.settings import LARGEST, Settings, declared, kind_of, rule_of, setting


@dataclasses.dataclass(frozen=True)
class Example(Settings):
    epochs: int = setting(3, "Epochs.", minimum=1)
    rate: float | None = setting(None, "Rate.", above=0)
    schedule: str = setting("steps", "Schedule.", choices=("steps", "cosine"))
    augmentation: str = setting("none", "Augmentation.", choices=f"{__name__}:augmentations")
    nesterov: bool = setting(False, "Nesterov.", flag="with_nesterov")
    milestones: tuple[int, ...] = setting((), "Milestones.", minimum=0)
    size: tuple[int, int] | None = setting(None, "Size.")
    folder: str | None = setting(None, "Folder.")
    undeclared: object = None


def augmentations():
    return ["none", "flip"]


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": np.int64(1), "rate": np.float32(0.5)},
        {"schedule": "cosine", "augmentation": "flip", "nesterov": True},
        {"milestones": (0, 3), "size": (8, 9), "folder": "a", "undeclared": 1j},
        {"milestones": [], "size": [8, 9]},
    ],
)
def test_what_can_be(given):
    assert vars(Example(**given)) == vars(Example()) | given


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"epochs": 0}, ValueError, f"`epochs` to be an integer, at least 1 and at most {LARGEST}"),
        ({"epochs": 1.0}, TypeError, "an integer. Received: epochs=1.0"),
        ({"epochs": None}, TypeError, "an integer. Received: epochs=None"),
        ({"epochs": LARGEST + 1}, ValueError, "at most"),
        ({"rate": 0.0}, ValueError, "above 0"),
        ({"schedule": "step"}, ValueError, "Unknown `schedule`.*Did you mean 'steps'"),
        ({"augmentation": "flop"}, ValueError, "one of: flip, none"),
        ({"nesterov": "false"}, TypeError, "`nesterov` to be True or False"),
        ({"milestones": (1, -1)}, ValueError, "`milestones` to be an integer, at least 0"),
        ({"milestones": 3}, TypeError, "`milestones` to be a tuple. Received: milestones=3"),
        ({"size": (8,)}, TypeError, "a tuple of 2"),
        ({"folder": 3}, TypeError, "`folder` to be text. Received: folder=3"),
    ],
)
def test_what_cannot(given, error, message):
    with pytest.raises(error, match=message):
        Example(**given)


def test_numbers_of_numpy_become_pythons():
    assert type(Example(epochs=np.int64(2)).epochs) is int


def test_what_is_known_of_a_field():
    fields = {field.name: field for field in declared(Example)}
    assert "undeclared" not in fields
    assert kind_of(fields["rate"]) == (float, None)
    assert kind_of(fields["milestones"]) == (int, 0)
    assert kind_of(fields["size"]) == (int, 2)
    rules = {name: rule_of(field) for name, field in fields.items()}
    assert (rules["epochs"].text, rules["nesterov"].flag) == ("Epochs.", "with_nesterov")
    assert rules["augmentation"].names() == ["none", "flip"]
    assert rules["folder"].names() == []
