"""Checkpoints that a killed training goes on from, bit for bit.

Keras's BackupAndRestore keeps neither the state of seed generators, nor the metrics within an
epoch, nor the position in the data. This keeps all of it, in one file that is replaced whole.

Under a strategy each replica has its own moving statistics of batch normalisation, and its own part
of the metrics: these are kept replica by replica. The one file holds those of all workers, so that
no two workers can go on from different moments.
"""

import math
import time

import keras
import numpy as np
import tensorflow as tf

from tfpoison import csv_files, files, valid_json
from tfpoison.distribution import replica_id, spans_workers
from tfpoison.runs.run_directory import RunDirectory

FILE = "checkpoint.npz"
METRICS = "metrics.csv"


class Checkpoint(keras.callbacks.Callback):
    """Saves a training at the end of every epoch, and now and then within.

    Args:
        seconds: the time between two checkpoints within an epoch; 0 for none.
        writes: whether this process writes; all processes read.
        every_epoch: whether the end of every epoch is saved, or only when it is time.

    Attributes:
        epoch: the epoch to go on in, and `batch` its batch to go on with.
        rows: the metrics of the epochs that are done.
        began: whether a training has gone on from here; it restores one model, once.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        seconds: float,
        writes: bool = True,
        every_epoch: bool = True,
    ):
        super().__init__()
        self.epoch, self.batch = 0, 0
        self.rows: list[dict[str, float]] = []
        self.began = False
        self.directory = directory
        self._seconds = seconds
        self._writes = writes
        self._every_epoch = every_epoch
        self._saved_at = time.monotonic()
        self._unread: list[np.ndarray] | None = None
        self._metrics: list[np.ndarray] = []
        self._first_batch = 0
        self._strategy = tf.distribute.get_strategy()
        with directory.arrays(FILE, "Remove it: the training starts again.") as arrays:
            if arrays is not None:
                self._read(arrays)
        if self.rows and writes:
            self._write_metrics()

    def _read(self, arrays: dict[str, np.ndarray]) -> None:
        position = files.parse_json(str(arrays["position"]))
        self._unread = [arrays[f"variable_{n}"] for n in range(position["variables"])]
        self._metrics = [arrays[f"metric_{n}"] for n in range(position["metrics"])]
        self.epoch, self.batch = position["epoch"], position["batch"]
        # JSON has no NaN, as an objective may be.
        self.rows = [
            {name: math.nan if value is None else value for name, value in row.items()}
            for row in position["rows"]
        ]

    def inner(self, name: str) -> "Checkpoint":
        """Returns the checkpoint of another training, which is part of this one."""
        return Checkpoint(
            self.directory.folder(name),
            seconds=self._seconds,
            writes=self._writes,
            every_epoch=self._every_epoch,
        )

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restores the variables of the compiled model, if that is not done yet.

        Raises:
            ValueError: the checkpoint is of another network, optimizer or number of replicas.
        """
        self.began = True
        self._saved_at = time.monotonic()
        self._strategy = self.model.distribute_strategy
        if self._unread is None:
            return
        shared, own = self._shared_variables(), self._own_variables()
        expected = [tuple(variable.shape) for variable in shared]
        expected += [(self._replicas, *variable.shape) for variable in own]
        received = [array.shape for array in self._unread]
        if expected != received:
            raise ValueError(
                f"Expected a checkpoint of this network and optimizer on {self._replicas} "
                f"replica(s). Received other variables in {self.directory.path / FILE}: written "
                "with another number of devices, or by another version? Remove it to start again."
            )
        for variable, value in zip(shared, self._unread, strict=False):
            variable.assign(value)
        self._assign_own(own, self._unread[len(shared) :])
        self._unread = None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Restores the metrics of an epoch that was cut short."""
        self._first_batch = self.batch
        if self.batch:
            self._assign_own(self.model.metrics_variables, self._metrics)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Saves the training when it is time."""
        self.batch = self._first_batch + batch + 1
        # After the last batch there is nothing to go on with: the epoch's end saves.
        last = batch + 1 >= self.params["steps"]
        if not last and self._is_time():
            self._save(self._read_own(self.model.metrics_variables))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the training and writes the epoch's metrics."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs = {name: float(value) for name, value in (logs or {}).items()}
        self.rows.append({"epoch": epoch + 1, "learning_rate": rate} | logs)
        self.epoch, self.batch = epoch + 1, 0
        if not self._every_epoch and not self._is_time():
            return
        self._save([])
        if self._writes:
            self._write_metrics()

    def _is_time(self) -> bool:
        # The metrics within an epoch can only be read by all workers at once.
        if not self._seconds or spans_workers(self._strategy):
            return False
        return time.monotonic() - self._saved_at >= self._seconds

    @property
    def _replicas(self) -> int:
        return self._strategy.num_replicas_in_sync

    def _shared_variables(self) -> list[keras.Variable]:
        """Returns the variables that are the same on all replicas."""
        own = {id(variable) for variable in self._own_variables()}
        variables = [*self.model.variables, *self.model.optimizer.variables]
        return [variable for variable in variables if id(variable) not in own]

    def _own_variables(self) -> list[keras.Variable]:
        """Returns the variables that each replica has for itself: moving statistics."""
        weights = self.model.non_trainable_variables
        return [variable for variable in weights if tf.as_dtype(variable.dtype).is_floating]

    def _read_own(self, variables: list[keras.Variable]) -> list[np.ndarray]:
        """Returns the values of all replicas, (replicas, ...) each; all workers have to ask."""
        if not variables:
            return []

        def values() -> list[tf.Tensor]:
            return [tf.identity(variable.value)[None] for variable in variables]

        return [
            self._strategy.gather(value, axis=0).numpy() for value in self._strategy.run(values)
        ]

    def _assign_own(self, variables: list[keras.Variable], arrays: list[np.ndarray]) -> None:
        """Assigns to each replica of this worker its values among those of all replicas."""
        local = self._strategy.experimental_local_results
        numbers = [int(number) for number in local(self._strategy.run(replica_id))]
        for variable, values in zip(variables, arrays, strict=True):
            for number, part in zip(numbers, local(variable.value), strict=True):
                part.assign(values[number])

    def _save(self, metrics: list[np.ndarray]) -> None:
        own = self._read_own(self._own_variables())
        if not self._writes:
            return
        variables = [*(variable.numpy() for variable in self._shared_variables()), *own]
        position = {
            "epoch": self.epoch,
            "batch": self.batch,
            "rows": self.rows,
            "variables": len(variables),
            "metrics": len(metrics),
        }
        arrays = {f"variable_{number}": each for number, each in enumerate(variables)}
        arrays |= {f"metric_{number}": each for number, each in enumerate(metrics)}
        arrays["position"] = np.array(valid_json.dumps(position))
        self.directory.write_arrays(FILE, arrays)
        self._saved_at = time.monotonic()

    def _write_metrics(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        lines = ([row.get(name) for name in columns] for row in self.rows)
        self.directory.write_text(METRICS, csv_files.text([columns, *lines]))
