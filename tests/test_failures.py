"""What a person is told of an error."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import failures
from tfpoison.checks import check_number


def fail_in_tensorflow():
    # TensorFlow itself takes ten seconds to give up.
    text = "Graph execution error: ... OOM when allocating tensor with shape[64,8] on /job:local"
    raise tf.errors.ResourceExhaustedError(None, None, text)


def write_to_a_full_disk():
    # As TensorBoard does.
    writer = tf.io.TFRecordWriter("/dev/full")
    writer.write(b"1" * 1000)
    writer.close()


def prepare_on_a_full_disk():
    try:
        write_to_a_full_disk()
    except tf.errors.OpError as error:
        raise RuntimeError(f"Failed to finalize writing: {error}") from error


def write_into_no_directory():
    tf.summary.create_file_writer("/proc/nowhere/tensorboard").flush()


FORESEEN = {
    "memory of TensorFlow": (fail_in_tensorflow, 1, "fit into memory. Received: OOM when alloc"),
    "memory": (lambda: np.zeros(1 << 50), 1, "fit into memory. Received: Unable to allocate"),
    "disk of TensorFlow": (write_to_a_full_disk, 1, os.strerror(28)),
    "disk of TFDS": (prepare_on_a_full_disk, 1, os.strerror(28)),
    "file of TensorFlow": (write_into_no_directory, 1, "/proc/nowhere"),
    "file": (pathlib.Path("/nowhere/a").read_bytes, 1, "No such file or directory: '/nowhere/a'"),
    "refused": (lambda: check_number("ways", 1, minimum=2), 2, "Expected `ways`"),
}


def raised(call):
    try:
        call()
    except BaseException as error:
        return error
    pytest.fail("Nothing was raised.")


@pytest.mark.parametrize("name", FORESEEN)
def test_foreseen(name, tmp_path, capsys):
    call, code, part = FORESEEN[name]
    assert failures.tell(raised(call), tmp_path / "run", started=True) == code
    error = capsys.readouterr().err
    assert error.startswith("tfpoison: ")
    assert part in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "call",
    [lambda: [][1], lambda: int("a"), lambda: tf.reshape(tf.zeros(2), [3])],
    ids=["IndexError", "ValueError", "InvalidArgumentError"],
)
def test_unforeseen(call, tmp_path, capsys):
    error = raised(call)
    for _ in range(2):
        assert failures.tell(error, tmp_path / "run", started=True) == failures.UNFORESEEN
    told = capsys.readouterr().err.splitlines()
    path = tmp_path / "run" / failures.TRACE
    assert told[0].startswith(f"tfpoison: Unforeseen error, {type(error).__name__}: ")
    assert told[0].endswith(f"The full trace is in {path}.")
    assert len(told) == 2
    assert path.read_text().count("Traceback") == 2  # Nothing is lost of an earlier error.


def test_a_trace_that_cannot_be_written_is_shown(capsys):
    folder = pathlib.Path("/proc/nowhere")
    assert failures.tell(raised(lambda: [][1]), folder, started=True) == failures.UNFORESEEN
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1].endswith("The full trace stands above.")


def test_before_work_starts_every_value_error_is_about_the_command(tmp_path, capsys):
    assert failures.tell(raised(lambda: int("a")), tmp_path, started=False) == 2
