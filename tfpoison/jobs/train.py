"""Trains a classifier, defended or not."""

import dataclasses
import functools
import math
import pathlib
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison import RobustModel, data, distribution, files, networks
from tfpoison.checks import check_name
from tfpoison.data import Description, Examples, ImageClassification
from tfpoison.defenses import Defense
from tfpoison.evaluation import Predictor, poison_success
from tfpoison.fitting import optimization
from tfpoison.fitting import stream as fitting
from tfpoison.fitting.preview import FILE as PREVIEW
from tfpoison.fitting.preview import Preview
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.stream import Stream
from tfpoison.fitting.training_set import TrainingSet, fit_defended, remove_suspects
from tfpoison.notes import decimal, tell_once
from tfpoison.recipes import Poisons
from tfpoison.recipes.fingerprints import fingerprint
from tfpoison.runs.checkpoint import METRICS, Checkpoint
from tfpoison.runs.run_directory import CONFIGURATION, TENSORBOARD, RunDirectory

REPORT = "report.json"
NETWORK = "network.keras"


@dataclasses.dataclass(frozen=True)
class TrainJob:
    """Trains a network and leaves all that there is to know of it in a directory.

    A run that was killed goes on where its last checkpoint was made, and ends with the bits of an
    uninterrupted one.

    Attributes:
        data: the images.
        network: the network.
        training: optimizer, schedule, epochs, strategy.
        defense: the defense.
        defense_name: what it goes by in the report.
        directory: the output directory; several workers share it.
        poisons: a file of poisons to train on; None for clean data.
        checkpoint_seconds: the time between two checkpoints within an epoch; 0 for none.
        verbose: whether Keras shows its progress bar.
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
        check_name("strategy", self.training.strategy, distribution.names())
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
        fitting.check_data(description, self.network, [self.defense])
        # Of what a keep-list leaves, and replicas of a last batch, less is known.
        if self.data.keep_list is None and self.training.strategy in ("default", "one_device"):
            batches = math.ceil(description.train_size / self.data.batch_size)
            fitting.check_steps(self.training, batches)

    def run(self) -> str:
        """Trains, and returns a report for people to read.

        Raises:
            ValueError: the settings cannot be, or the directory belongs to another run.
            TypeError: a setting has the wrong type.
        """
        # Workers have to meet before TensorFlow does anything else.
        if self.training.strategy == "multi_worker":
            tell_once("waiting until all workers that TF_CONFIG names are there")
        strategy = distribution.get(self.training.strategy)
        self.check()
        if (self.directory.path / REPORT).exists():
            return f"Finished earlier; nothing was trained.\n{self._describe_finished()}"
        if not _is_chief(strategy):
            return describe(self._train(strategy, writes=False), self.directory.path)
        with self.directory.occupied():
            return describe(self._train(strategy, writes=True), self.directory.path)

    def _describe_finished(self) -> str:
        """Returns the report of a run that has finished, whose network is still whole."""
        network, finished = self.directory.path / NETWORK, self.directory.path / REPORT
        if network.exists():
            remedy = f"Remove it and {REPORT}: it is made again from the last checkpoint."
            with files.read_back(network, remedy):
                files.check_archive(network)
        with files.read_back(finished, "Remove it: the network is evaluated again."):
            return describe(files.read_json(finished), self.directory.path)

    @property
    def keras_verbosity(self) -> int:
        """Keras's progress bar on a terminal, a line an epoch elsewhere, or nothing."""
        if not self.verbose:
            return 0
        return 1 if sys.stdout.isatty() else 2

    def _load_images(self, poisons: Poisons | None) -> ImageClassification:
        """Returns the images on the keep-list, with the poisons among them."""
        images = data.load(**self.data.source)
        self._check_data(images.description)
        train = self._training_images(images.train, poisons)
        images = dataclasses.replace(images, train=train)
        if poisons is not None:
            poisons.check_classes(images.classes)
            _check_targets(poisons, images)
        return images

    def _training_images(self, train: Examples, poisons: Poisons | None) -> Examples:
        """Returns the training images with the poisons in them, and on the keep-list."""
        if poisons is None:
            return self.data.kept(train)
        if self.data.keep_list is None or poisons.fingerprint == fingerprint(train):
            return self.data.kept(poisons.poison(train))
        # The poisons were brewed for what is on the list.
        return poisons.poison(self.data.kept(train))

    def _train(self, strategy: tf.distribute.Strategy, *, writes: bool) -> dict[str, Any]:
        training = self.training
        keras.utils.set_random_seed(training.seed)
        keras.config.set_dtype_policy(training.precision)
        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        poisons = None if self.poisons is None else Poisons.load(self.poisons)
        images = self._load_images(poisons)

        def make_stream(examples: Examples, defense: Defense = self.defense) -> Stream:
            return Stream(
                examples,
                self.data,
                training,
                replicas=strategy.num_replicas_in_sync,
                classes=images.classes,
                one_hot=defense.needs_one_hot,
            )

        def make(defense: Defense) -> RobustModel:
            batches = make_stream(images.train).batches
            with strategy.scope():
                return make_model(images, self.network, training, defense, batches)

        def train_plain(inner: Checkpoint) -> keras.Model:
            plain, examples = make(Defense()), images.train
            fit_defended(
                plain,
                Defense(),
                examples,
                TrainingSet.whole(examples),
                functools.partial(make_stream, defense=Defense()),
                inner,
                [],
                epochs=training.epochs,
                until_epoch=training.epochs,
                seed=training.seed,
                verbose=self.keras_verbosity,
            )
            return plain.network

        # The metrics within an epoch can only be read by all workers at once.
        seconds = 0 if _is_multi_worker(strategy) else self.checkpoint_seconds
        checkpoint = Checkpoint(self.directory, seconds=seconds, writes=writes)
        left = remove_suspects(
            self.defense,
            images.train,
            checkpoint,
            seed=training.seed,
            train_plain=train_plain,
        )
        model = make(self.defense)
        callbacks: list[keras.callbacks.Callback] = []
        if writes:
            folder = str(self.directory.path / TENSORBOARD)
            callbacks.append(keras.callbacks.TensorBoard(folder, write_graph=False))
        if writes and model.attack is not None:
            callbacks.append(Preview(self.directory, *make_stream(images.train).first_batch()))
        left = fit_defended(
            model,
            self.defense,
            images.train,
            left,
            make_stream,
            checkpoint,
            callbacks,
            epochs=training.epochs,
            until_epoch=training.epochs,
            seed=training.seed,
            validation=images.validation,
            verbose=self.keras_verbosity,
        )
        validation = make_stream(images.train).evaluation(images.validation)
        results = model.evaluate(validation, verbose=0, return_dict=True)
        report = self._report(model.network, results, images, poisons, left)
        if writes:
            _save_network(model.network, self.directory)
            self.directory.write_json(REPORT, report)
        return report

    def _report(
        self,
        network: keras.Model,
        results: dict[str, Any],
        images: ImageClassification,
        poisons: Poisons | None,
        left: TrainingSet,
    ) -> dict[str, Any]:
        """Returns the figures, given what Keras has evaluated."""
        report = {
            "clean_accuracy": float(results["accuracy"]),
            "validation_loss": float(results["loss"]),
            "validation_examples": images.validation.size,
            "training_examples": images.train.size,
            "epochs": self.training.epochs,
            "defense": self.defense_name,
            "network": self.network.network,
            "weights": int(network.count_params()),
        }
        if self.defense.changes_training_set:
            report["removed_examples"] = images.train.size - len(left.kept)
        if poisons is not None:
            report |= _poison_report(network, poisons, images)
            if self.defense.changes_training_set:
                kept_ids = images.train.ids[left.kept]
                report["removed_poisons"] = int((~np.isin(poisons.ids, kept_ids)).sum())
        return report


def make_model(
    images: ImageClassification,
    network_settings: NetworkSettings,
    training: TrainingSettings,
    defense: Defense,
    batches_per_epoch: int,
) -> RobustModel:
    """Returns the compiled model; to be called within the scope of a strategy."""
    mean, std = data.channel_statistics(images.train)
    network = networks.get(
        image_shape=images.image_shape,
        classes=images.classes,
        mean=mean,
        std=std,
        seed=training.seed,
        **network_settings.choice,
    )
    optimization.add_weight_decay(network, training)
    model = RobustModel(network, seed=training.seed, **defense.robust_model_arguments())
    model.compile(
        defense.optimizer(
            optimization.make_optimizer(training, batches_per_epoch), seed=training.seed
        ),
        training.loss(one_hot=defense.needs_one_hot),
        metrics=["accuracy"],
        steps_per_execution=training.steps_per_execution,
        jit_compile="auto" if training.jit_compile is None else training.jit_compile,
    )
    return model


def _check_targets(poisons: Poisons, images: ImageClassification) -> None:
    """Raises ValueError where the targets are not among these held-out images."""
    validation, threat = images.validation, poisons.threat
    known = validation.labels[np.isin(validation.ids, threat.target_ids)]
    if len(known) != len(threat.target_ids) or (known != threat.target_class).any():
        raise ValueError(
            "Expected the held-out images that the poisons' targets are among: give the "
            "--validation_size, --balanced and --subset_seed that they were brewed with. Received: "
            f"{validation.size} images, of which {len(known)} are among the "
            f"{len(threat.target_ids)} target(s)"
        )


def _poison_report(
    network: keras.Model, poisons: Poisons, images: ImageClassification
) -> dict[str, Any]:
    """Returns what the poisons have achieved."""
    threat = poisons.threat
    targets = Predictor(network).probabilities(threat.target_images(images.validation))
    return {
        "poisons": int(np.isin(poisons.ids, images.train.ids).sum()),
        "targets": len(targets),
        "target_class": images.class_names[threat.target_class],
        "adversarial_class": images.class_names[threat.adversarial_class],
        "poison_success": poison_success(targets, threat.adversarial_class),
        "target_confidence": float(targets[:, threat.adversarial_class].mean()),
    }


def _save_network(network: keras.Model, directory: RunDirectory) -> None:
    partial = directory.path / f".partial-{NETWORK}"
    network.save(partial)
    partial.replace(directory.path / NETWORK)


def _is_multi_worker(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def _is_chief(strategy: tf.distribute.Strategy) -> bool:
    return not _is_multi_worker(strategy) or strategy.cluster_resolver.task_id in (0, None)


def describe(report: dict[str, Any], directory: pathlib.Path) -> str:
    """Returns the report as a person reads it."""
    defended = "undefended"
    if report["defense"] != "none":
        defended = f"defended by {report['defense']}"
    files = {
        NETWORK: "the trained network, for keras.models.load_model",
        METRICS: "loss, accuracy and the attack's objective, epoch by epoch",
        PREVIEW: "a batch from inside the training: clean, perturbation, poisoned",
        TENSORBOARD: f"for tensorboard --logdir {directory}",
        CONFIGURATION: "all flags; --flagfile with it repeats this run",
        REPORT: "these figures",
    }
    lines = [
        "",
        f"{report['network']} ({report['weights']:,} weights), {defended}, "
        f"{report['epochs']} epochs on {report['training_examples']:,} images",
        f"clean accuracy   {report['clean_accuracy']:.4f}  "
        f"(on {report['validation_examples']:,} validation images)",
        f"validation loss  {decimal(report['validation_loss'], 4)}",
        *_describe_poisons(report),
        *_describe_removal(report),
        "",
        f"Written to {directory}:",
        *(f"  {name:<14} {what}" for name, what in files.items() if (directory / name).exists()),
    ]
    return "\n".join(lines)


def _describe_poisons(report: dict[str, Any]) -> list[str]:
    if "poisons" not in report:
        return []
    return [
        f"poison success   {report['poison_success']:.4f}  (the share of {report['targets']} "
        f"target(s) of class {report['target_class']} called {report['adversarial_class']}; "
        f"confidence {decimal(report['target_confidence'], 4)}; {report['poisons']} poisons)"
    ]


def _describe_removal(report: dict[str, Any]) -> list[str]:
    if "removed_examples" not in report:
        return []
    poisons = f", {report['removed_poisons']} poisons" if "removed_poisons" in report else ""
    return [f"removed          {report['removed_examples']} training images{poisons}"]
