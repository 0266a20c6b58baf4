import functools
import gc
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

# Keep TensorFlow's start-up chatter out of the test report.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tfpoison  # First: it sets what must be set before TensorFlow is imported.
import keras
import pytest
import tensorflow as tf

from tfpoison.choices import STRATEGIES

assert tfpoison

REFERENCE_DIR = pathlib.Path(__file__).parent / "reference"


def pytest_addoption(parser):
    parser.addoption(
        "--reference-dir",
        type=pathlib.Path,
        default=REFERENCE_DIR,
        help="A folder of .npz files with reference cases of the authors' implementation.",
    )


def pytest_configure(config):
    # What a shell starts in the background ignores Ctrl-C, and so would the programs of tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # What nohup starts ignores SIGHUP. Programs that are started get no handler handed down.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    # Logical CPU devices stand in for GPUs; they must exist before TensorFlow starts.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Every test starts from the same global state of Keras, whatever ran before."""
    keras.utils.set_random_seed(0)
    # Keras collects garbage after every test: what imports and earlier tests have left for good
    # need not be looked at each time, which took up to two fifths of a file's time.
    gc.collect()
    gc.freeze()
    yield
    keras.backend.clear_session()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def cpus():
    """Returns the strategy with so many replicas, 2 to 4.

    There is one for all tests: TensorFlow numbers the collective operations of each strategy from
    the start, and takes those of a second strategy on the same devices for the first one's.
    """

    @functools.cache
    def make(count):
        class Mirrored(tf.distribute.MirroredStrategy):
            _collective_key_base = 1000 * count  # Apart from those with fewer replicas.

        return Mirrored([f"CPU:{number}" for number in range(count)])

    return make


@pytest.fixture(scope="session")
def two_cpus(cpus):
    """The strategy with two replicas."""
    return cpus(2)


@pytest.fixture
def mirrored_by_name(two_cpus, monkeypatch):
    """Gives what asks for `"mirrored"` by its name the strategy of all tests."""
    monkeypatch.setitem(STRATEGIES._makers, "mirrored", lambda: two_cpus)
    return two_cpus


@pytest.fixture
def two_workers(tmp_path):
    """Runs a program in `tmp_path`, as two workers on the loopback interface, to its good end."""

    def run(*arguments, timeout=200):
        with socket.socket() as first, socket.socket() as second:
            for each in (first, second):
                each.bind(("127.0.0.1", 0))
            workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
        root = pathlib.Path(__file__).parents[1]
        processes = []
        for index in range(2):
            task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
            environment = {"TF_CONFIG": json.dumps(task), "PYTHONPATH": str(root)}
            program = [str(each).replace("INDEX", str(index)) for each in arguments]
            processes.append(
                subprocess.Popen(
                    [sys.executable, *program],
                    cwd=tmp_path,
                    env=os.environ | environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        for process in processes:
            output, _ = process.communicate(timeout=timeout)
            assert process.returncode == 0, output[-3000:]

    return run
