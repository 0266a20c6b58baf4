"""Trainings that diverge: told apart from those that end with a network."""

import keras
import numpy as np


class DivergedError(ValueError):
    """A training has come to a loss or weights that are not finite."""


class DivergenceCheck(keras.callbacks.Callback):
    """Has a training of a `RobustModel` that diverges raise `DivergedError` before it is saved."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Looks at the epoch's mean loss after 1, 2, 4, … batches: each look awaits the device."""
        if batch & (batch + 1) == 0:
            self._check_loss(logs)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Looks at the loss, and at the weights, which the last step may have spoilt."""
        self._check_loss(logs)
        if not _is_finite(self.model.network):
            self._stop("weights that are not finite")

    def _check_loss(self, logs: dict | None) -> None:
        loss = float((logs or {})["loss"])
        if not np.isfinite(loss):
            self._stop(f"a loss of {loss}")

    def _stop(self, received: str) -> None:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        raise DivergedError(
            f"Expected a training that converges. Received: {received} in epoch {self._epoch + 1}, "
            f"at a learning rate of {rate:g}. Lower --learning_rate (in a pretraining "
            "--pretraining_learning_rate, where it is given), clip gradients with --clipnorm, or, "
            "in half precision, train with --precision=float32."
        )


def check_finished(network: keras.Model) -> None:
    """Raises `DivergedError` where a defense has spoilt the network after the training."""
    if not _is_finite(network):
        raise DivergedError(
            "Expected a network whose weights are finite after the defense's last steps. Received: "
            "weights that are not. Lower the defense's rate, as in "
            '--defense="isolation(unlearning_rate=5e-4)", or its epochs.'
        )


def _is_finite(network: keras.Model) -> bool:
    return all(np.isfinite(each).all() for each in network.get_weights())
