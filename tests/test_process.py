"""The process of a command: signals, streams and temporary files, in processes of their own."""

import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest

from tfpoison import process

FILE = process.__file__
# The module by itself: the package would import TensorFlow.
ALONE = f"""
import importlib.util, os, pathlib, signal, sys, tempfile
spec = importlib.util.spec_from_file_location("process", {FILE!r})
process = importlib.util.module_from_spec(spec)
spec.loader.exec_module(process)
process.prepare()
"""


def run(script, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([sys.executable, "-c", ALONE + script], **options)


SIGNALS = [("SIGINT", "interrupted"), ("SIGTERM", "interrupted by SIGTERM")]


@pytest.mark.parametrize(("name", "told"), [*SIGNALS, ("SIGHUP", "interrupted by SIGHUP")])
def test_a_signal_while_importing(name, told):
    done = run(f"os.kill(os.getpid(), signal.{name})")
    assert done.returncode == 128 + getattr(signal, name)
    assert done.stderr.decode() == f"tfpoison: {told}\n"


@pytest.mark.parametrize(("name", "told"), SIGNALS)
def test_a_signal_at_work_is_an_interrupt(name, told, tmp_path):
    script = f"""
try:
    with process.at_work():
        tempfile.mkdtemp()
        os.system("touch $TMPDIR/of_a_child")
        os.kill(os.getpid(), signal.{name})
except KeyboardInterrupt as error:
    print(error, process.exit_code(error))
"""
    done = run(script, env={"TMPDIR": str(tmp_path)})
    assert done.stdout.decode() == f"{told} {128 + getattr(signal, name)}\n"
    assert not list(tmp_path.iterdir())


def test_a_second_signal_does_not_wait():
    script = """
with process.at_work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGTERM)
print("goes on")
"""
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, b"", b"")


def test_disks_that_are_full():
    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = run("print('goes on')", preexec_fn=fill)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"No usable temporary directory" in done.stderr and b"Traceback" not in done.stderr


def test_signals_that_were_ignored_stay_so():
    script = "os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    done = run(script, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.stdout == b"goes on\n"


def test_folders_of_killed_runs_are_removed_and_told_of(tmp_path):
    work = "process._SECONDS_TO_LOCK = 0\nwith process.at_work(): "
    kill = work + "os.kill(os.getpid(), signal.SIGKILL)"
    look = work + "os.system('ls $TMPDIR/..')"
    environment = {"env": {"TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}}
    run(kill, **environment)
    left = next(tmp_path.iterdir())
    in_use = subprocess.Popen(
        [sys.executable, "-c", ALONE + work + "print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **environment,
    )
    in_use.stdout.readline()
    assert not left.exists()
    done = run(look, **environment)
    in_use.communicate()
    assert (len(done.stdout.split()), done.stderr) == (2, b"")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_who_leaves(stream):
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    script = f"print(1, file=sys.{stream}, flush=True); print('goes on', file=sys.{other})"
    done = run(script, **{stream: writer})
    os.close(writer)
    assert (done.returncode, getattr(done, other)) == (0, b"goes on\n")


def test_closed_streams_are_no_files():
    """A file that is opened must not get what libraries write to standard error."""
    script = f"""
with open(pathlib.Path({os.devnull!r})) as file:
    number = file.fileno()
print("nothing", file=sys.stderr)
sys.exit(100 + number)
"""

    def close():
        os.close(1)
        os.close(2)

    done = run(script, stdout=None, stderr=None, preexec_fn=close)
    assert done.returncode > 102


@pytest.mark.parametrize(("encoding", "text"), [("ascii", b"? 5"), ("latin-1", b"\xb1 5")])
def test_what_an_encoding_cannot_say_is_replaced(encoding, text):
    done = run(r"print('\xb1 5')", env={"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout) == (0, text + b"\n")


def test_the_command_is_prepared_before_it_imports(tmp_path):
    root = pathlib.Path(FILE).parents[1]
    command = subprocess.Popen(
        [sys.executable, "-m", "tfpoison.launch", "--help"], cwd=root, stderr=subprocess.PIPE
    )
    caught, deadline = 0, time.monotonic() + 30
    while not caught & 1 << signal.SIGTERM - 1 and time.monotonic() < deadline:
        time.sleep(0.01)
        status = pathlib.Path(f"/proc/{command.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
    command.terminate()
    _, error = command.communicate()
    assert (command.returncode, error) == (143, b"tfpoison: interrupted by SIGTERM\n")
