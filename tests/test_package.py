"""What importing the package does."""

import os
import platform
import subprocess
import sys

import pytest

import tfpoison

LOOK = """
import sys, time
start = time.perf_counter()
import tfpoison
rooms = "attacks defenses networks objectives perturbations recipes data"
assert not [room for room in rooms.split() if not hasattr(tfpoison, room)]
names = [getattr(tfpoison, room).names() for room in rooms.split()]
assert all(names), names
print(time.perf_counter() - start)
print([each for each in ("tensorflow", "keras", "matplotlib", "sklearn") if each in sys.modules])
"""

SHOW = """
import os, sys
import tfpoison
print(*sorted({name.partition(".")[0] for name in sys.modules}))
print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""
HEAVY = {"tensorflow", "keras", "sklearn", "scipy", "matplotlib", "PIL", "tensorflow_datasets"}


@pytest.mark.parametrize("before", [None, "0"])
def test_onednn_is_switched_on_unless_the_user_has_decided(before):
    environment = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    if before is not None:
        environment["TF_ENABLE_ONEDNN_OPTS"] = before
    output = subprocess.check_output([sys.executable, "-c", SHOW], env=environment, text=True)
    switched_on = "1" if platform.machine().lower() in ("x86_64", "amd64") else "None"
    imported, variable = output.splitlines()
    assert variable == (before or switched_on)
    # Parts are imported when they are first used.
    assert HEAVY & set(imported.split()) == set()


def test_an_import_and_a_look_at_the_names_cost_nothing():
    output = subprocess.check_output([sys.executable, "-c", LOOK], text=True)
    seconds, heavy = output.splitlines()
    assert heavy == "[]"
    assert float(seconds) < 1


def test_public_names():
    assert [name for name in tfpoison.__all__ if not hasattr(tfpoison, name)] == []
    assert tfpoison.__version__
