"""The scripts of launch/ are run, with commands that tell what they were called with."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

SCRIPTS = pathlib.Path(__file__).parents[1] / "launch"
# Tells the command, its arguments and what matters of its environment, one to a line.
TELL = """#!/bin/bash
{ basename "$0"; printf '%s\\n' "$@" "TF_CONFIG=$TF_CONFIG"; } >"$TOLD/$(date +%s%N)-$$"
"""
STUBS = {
    "python": TELL + 'exec bash -c "${THEN:-exit 0}"\n',
    # As `python3 -m venv .venv`.
    "python3": TELL + 'mkdir -p .venv/bin; cp "$(dirname "$0")/python" .venv/bin/python\n',
    "srun": TELL + 'SLURM_PROCID=1 "$@"\n',
    "scontrol": TELL + "printf 'node%s\\n' 7 9\n",
    **{name: TELL for name in ("ruff", "mypy", "lint-imports")},
}


@pytest.fixture
def start(tmp_path):
    """Starts a script of a copy of launch/, where commands only tell that they were called."""
    shutil.copytree(SCRIPTS, tmp_path / "launch")
    for folder in ("bin", "told"):
        (tmp_path / folder).mkdir()
    for name, text in STUBS.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "TOLD": str(tmp_path / "told")}

    def start(script, *arguments, **more):
        command = ["bash", f"launch/{script}.sh", *arguments]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment | more, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.fixture
def told(tmp_path):
    """Returns what the commands have been called with, in their order."""
    return lambda: [each.read_text().splitlines() for each in sorted((tmp_path / "told").iterdir())]


LAUNCH = ["python", "-m", "tfpoison.launch"]
FLAGS = ["--defense=mixup(ways=3)", "--output_dir=two words"]


def call(*command):
    return [*command, "TF_CONFIG="]


def test_one_machine(start, told):
    assert start("one_machine", *FLAGS, THEN="exit 3").wait() == 3
    assert told() == [call(*LAUNCH, "--strategy=mirrored", *FLAGS)]


def test_multi_worker(start, told):
    workers = ["localhost:12345", "other:1"]
    done = start("multi_worker", *FLAGS, WORKERS=",".join(workers), INDEX="1", THEN="exit 3")
    assert done.wait() == 3
    (*command, configuration) = told()[0]
    assert command == [*LAUNCH, "--strategy=multi_worker", *FLAGS]
    assert json.loads(configuration.removeprefix("TF_CONFIG=")) == {
        "cluster": {"worker": workers},
        "task": {"type": "worker", "index": 1},
    }


def test_multi_worker_asks_for_workers(start, told):
    script = start("multi_worker", INDEX="0")
    assert "host:port of every worker" in script.communicate()[1]
    assert (script.returncode, told()) == (1, [])


def test_grid(start, told):
    assert start("grid", *FLAGS, PROCESSES="3").wait() == 0
    assert told() == [call(*LAUNCH, "--job=experiment", *FLAGS)] * 3


def test_a_grid_fails_with_one_of_its_processes(start):
    # Whichever makes the folder first.
    assert start("grid", THEN="mkdir first 2>/dev/null || exit 0; sleep 0.2; exit 3").wait() == 3


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_grid_ends_with_its_processes(name, start, told, tmp_path):
    # Ending takes them a while, as it takes Python.
    ending = f"trap 'sleep 0.3; touch {tmp_path}/ended$$; exit 143' TERM; touch {tmp_path}/ready$$"
    script = start("grid", THEN=f"{ending}; while sleep 0.05; do :; done")
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert script.poll() is None
        time.sleep(0.02)
    script.send_signal(getattr(signal, name))
    assert script.wait() == 143
    assert len(list(tmp_path.glob("ended*"))) == 2


PIP = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--editable"]


def test_quickstart(start, told, tmp_path):
    assert start("quickstart", *FLAGS, THEN="exit 0").wait() == 0
    assert start("quickstart").wait() == 0
    run = call(*LAUNCH, "--flagfile=flags/quickstart.flags")
    install = call("python", *PIP, ".")
    # The environment is made once.
    made = call("python3", "-m", "venv", ".venv")
    assert told() == [made, install, [*run[:-1], *FLAGS, run[-1]], install, run]


def test_tests(start, told):
    assert start("test", "-k", "two words").wait() == 0
    calls = told()
    assert calls[1] == call("python", *PIP, ".[test]")
    assert [each[0] for each in calls[2:6]] == ["ruff", "ruff", "mypy", "lint-imports"]
    assert calls[6][:4] == ["python", "-m", "pytest", "tests"]
    assert calls[6][-3:] == ["-k", "two words", "TF_CONFIG="]


def test_a_failure_while_setting_up_stops(start, told):
    assert start("quickstart", THEN="exit 3").wait() == 3
    assert len(told()) == 2


def test_slurm(start, told):
    done = start("slurm", *FLAGS, SLURM_JOB_NODELIST="node[7,9]", PORT="99", THEN="exit 3")
    assert done.wait() == 3
    scontrol, _, (*command, configuration) = told()
    assert scontrol == call("scontrol", "show", "hostnames", "node[7,9]")
    assert command == [*LAUNCH, "--strategy=multi_worker", *FLAGS]
    configuration = json.loads(configuration.removeprefix("TF_CONFIG="))
    assert configuration["cluster"]["worker"] == ["node7:99", "node9:99"]
    assert configuration["task"]["index"] == 1


def test_slurm_array(start, told):
    assert start("slurm_array", *FLAGS, THEN="exit 3").wait() == 3
    srun, python = told()
    assert srun == call("srun", *LAUNCH, "--job=experiment", *FLAGS)
    assert python == call(*LAUNCH, "--job=experiment", *FLAGS)


def test_every_script_is_run():
    run = {"one_machine", "multi_worker", "grid", "quickstart", "test", "slurm", "slurm_array"}
    # The environment is made by those that source it.
    assert {path.stem for path in SCRIPTS.glob("*.sh")} == run | {"environment"}
