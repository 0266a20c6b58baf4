"""Trains a classifier, defended or not."""

import contextlib
import dataclasses
import math
import sys
from typing import Any

import keras
import tensorflow as tf

from tfpoison import distribution
from tfpoison.data import Description, ImageClassification
from tfpoison.defenses import Defense
from tfpoison.fitting import optimization, stream, training_report, training_set
from tfpoison.fitting.preview import Preview
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import Trainer, network_maker, set_up_keras
from tfpoison.fitting.training_report import NETWORK, REPORT
from tfpoison.notes import tell_once
from tfpoison.recipes import Poisons
from tfpoison.report.training import write_page
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import TENSORBOARD, RunDirectory


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Trains a network and leaves all that there is to know of it in a directory.

    A run that was killed goes on where its last checkpoint was made, and ends with the bits of an
    uninterrupted one. Several workers share the directory.

    Attributes:
        defense_name: what the defense goes by in the report.
        poisons: a file of poisons to train on; None for clean data.
        checkpoint_seconds: the time between two checkpoints within an epoch; 0 for none.
    """

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    defense: Defense
    defense_name: str
    directory: RunDirectory
    poisons: str | None = None
    checkpoint_seconds: float = 300
    verbose: bool = True

    def check(self) -> None:
        """Raises ValueError or TypeError where `run` would, before any image is read."""
        optimization.check(self.training, self.defense)
        if self.defense.changes_training_set and self.training.strategy == "multi_worker":
            raise ValueError(
                "Expected a strategy of one process with a defense that removes or changes "
                f"training examples. Received: {self.defense_name} with --strategy="
                f"{self.training.strategy}. Remove suspects beforehand: --job=audit"
            )
        self.directory.check()
        if self.poisons is not None:
            Poisons.load(self.poisons)
        self._check_data(self.data.check())

    def _check_data(self, description: Description) -> None:
        stream.check_data(description, self.network, [self.defense])
        # Of what a keep-list leaves, and replicas of a last batch, less is known.
        if self.data.keep_list is None and self.training.strategy in ("default", "one_device"):
            batches = math.ceil(description.train_size / self.data.batch_size)
            stream.check_steps(self.training, batches)

    def run(self) -> str:
        """Trains, and returns a report for people to read."""
        # Workers have to meet before TensorFlow does anything else.
        if self.training.strategy == "multi_worker":
            tell_once("waiting until all workers that TF_CONFIG names are there")
        strategy = distribution.get(self.training.strategy)
        self.check()
        if (self.directory.path / REPORT).exists():
            told = training_report.describe_finished(self.directory)
            return f"Finished earlier; nothing was trained.\n{told}"
        writes = distribution.is_chief(strategy)
        with self.directory.occupied() if writes else contextlib.nullcontext():
            report = self._train(strategy, writes=writes)
        return training_report.describe(report, self.directory)

    def _train(self, strategy: tf.distribute.Strategy, *, writes: bool) -> dict[str, Any]:
        set_up_keras(self.training)
        poisons = None if self.poisons is None else Poisons.load(self.poisons)
        images = training_set.load(self.data, poisons)
        self._check_data(images.description)
        trainer = Trainer(
            network_maker(self.network, images),
            images.classes,
            self.data,
            self.training,
            self.defense,
            strategy=strategy,
            seed=self.training.seed,
        )
        predictor, left = trainer.train(
            images.train,
            self.training.seed,
            Checkpoint(self.directory, seconds=self.checkpoint_seconds, writes=writes),
            validation=images.validation,
            callbacks=self._callbacks(trainer, images) if writes else [],
            verbose=0 if not self.verbose else 1 if sys.stdout.isatty() else 2,
        )
        evaluated = trainer.evaluate(images.validation)
        report = {
            "network": self.network.network,
            "defense": self.defense_name,
            "epochs": self.training.epochs,
            **training_report.figures(predictor, evaluated, images, left, poisons),
        }
        if writes:
            self._write(predictor.network, report)
        return report

    def _callbacks(
        self, trainer: Trainer, images: ImageClassification
    ) -> list[keras.callbacks.Callback]:
        folder = str(self.directory.path / TENSORBOARD)
        callbacks = [keras.callbacks.TensorBoard(folder, write_graph=False)]
        if self.defense.crafting is not None:
            batch = trainer.stream(images.train, self.training.seed).first_batch()
            callbacks.append(Preview(self.directory, *batch))
        return callbacks

    def _write(self, network: keras.Model, report: dict[str, Any]) -> None:
        self.directory.write_network(NETWORK, network)
        write_page(self.directory, report)
        self.directory.write_json(REPORT, report)
