"""The one way to train: networks of one kind, each from fresh weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison import data, expression, networks
from tfpoison.data import Examples, ImageClassification
from tfpoison.defenses import Defense, GradientShaping
from tfpoison.defenses.filters.base import Evidence
from tfpoison.evaluation import Predictor
from tfpoison.fitting import optimization
from tfpoison.fitting.evidence import asked, asked_repaired, averaged
from tfpoison.fitting.local_ascent import LocalAscent
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.stream import Stream, check_steps
from tfpoison.fitting.training_set import TrainingSet
from tfpoison.recipes.scenario import Scenario
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory, file_name
from tfpoison.training import RobustModel
from tfpoison.training.divergence import DivergenceCheck, check_finished

Weights = list[np.ndarray]


def set_up_keras(settings: TrainingSettings) -> None:
    """Sets, for this process, the precision of networks and whether a GPU is deterministic."""
    keras.config.set_dtype_policy(settings.precision)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()


def network_maker(
    settings: NetworkSettings, images: ImageClassification, classes: int | None = None
) -> Callable[[int], keras.Model]:
    """Returns a function from a seed to a fresh network for these images and their statistics."""
    mean, std = data.channel_statistics(images.train)
    more: dict[str, Any] = {}
    if "patch_covariance" in networks.settings(expression.parse(settings.network)[0]):
        more["patch_covariance"] = data.patch_covariance(images.train)

    def make_network(seed: int) -> keras.Model:
        return networks.get(
            image_shape=images.image_shape,
            classes=images.classes if classes is None else classes,
            mean=mean,
            std=std,
            seed=seed,
            **settings.choice,
            **more,
        )

    return make_network


@dataclasses.dataclass
class Trainer:
    """Trains networks of one kind, each from fresh weights.

    One model is compiled and traced, and put back to its start for every training: small networks
    train in less time than tracing takes. Trained one after the other or each in a process of its
    own, networks end with the same bits. Under a strategy each training has a model of its own.

    Attributes:
        make_network: from a seed to a network with fresh weights: images in [0, 1] to logits.
        data: batch size and augmentation.
        training: optimizer, schedule, epochs; neither its seed nor its strategy is used.
        scenario: what the networks start from, and which weights train.
        seed: that of crafting and of the gradient's noise. A training of another seed draws as if
            it were so many times 2³¹ steps on: no training has as many.
        ascent: the loss in nats below which that of an example is climbed; None for nowhere.
    """

    make_network: Callable[[int], keras.Model]
    classes: int
    data: DataSettings
    training: TrainingSettings
    defense: Defense = dataclasses.field(default_factory=Defense)
    scenario: Scenario = dataclasses.field(default_factory=Scenario)
    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    seed: int = 0
    ascent: float | None = None

    def __post_init__(self) -> None:
        rate = self.training.learning_rate * self.scenario.rate_factor
        self._settings = dataclasses.replace(self.training, learning_rate=rate)
        one_hot = self.defense.needs_one_hot or self.training.label_smoothing
        self._one_hot_classes = self.classes if one_hot else None
        self._model: RobustModel | None = None
        self._fresh: list[np.ndarray] = []
        self._undefended: dict[float | None, Trainer] = {}

    def train(
        self,
        examples: Examples,
        seed: int,
        checkpoint: Checkpoint,
        *,
        pretrained: keras.Model | None = None,
        until_epoch: int | None = None,
        validation: Examples | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        watch: Callable[[Predictor], dict[str, float]] | None = None,
        verbose: int = 0,
    ) -> tuple[Predictor, TrainingSet]:
        """Trains a network from where its checkpoint stands.

        Args:
            seed: of weights, order, augmentation, dropout and crafting.
            checkpoint: where an interrupted training goes on, and is saved.
            pretrained: what the scenario starts from.
            until_epoch: the epoch to stop after; None for the last one.
            validation: what `fit` evaluates on after every epoch.
            callbacks: other callbacks; what they add to an epoch's logs is saved.
            watch: returns what is recorded in the checkpoint's rows after every epoch.

        Returns:
            Answers for the network, which is overwritten by the next training, and what the
            defense has left of the training set.

        Raises:
            DivergedError: the training diverges; its last epoch is not saved.
            ValueError: the data are too few or too many for the defense, the checkpoint is another
                training's, or behind a revision whose outcome is gone.
        """
        assert not checkpoint.began, "A checkpoint restores one training: make another one."
        last = self.training.epochs if until_epoch is None else until_epoch
        left = TrainingSet(examples, self.defense, checkpoint.directory, seed)
        more: dict[str, Any] = {"pretrained": pretrained, "verbose": verbose}
        left.remove_suspects(
            lambda evidence: self.ask(evidence, examples, seed, checkpoint.inner, **more)
        )
        model = self._start(self.stream(examples, seed), seed, pretrained)
        if watch is not None:
            callbacks = [*callbacks, self._watching(watch)]
        for stop in [*left.revised_after(self.training.epochs, before=last), last]:
            # A checkpoint within the epoch that follows a revision is of the set that it has left.
            is_past = (checkpoint.epoch, checkpoint.batch) > (stop, 0)
            if not is_past:
                self._fit(
                    self.stream(left.current, seed),
                    checkpoint,
                    epochs=stop,
                    validation_data=None if validation is None else self._evaluation(validation),
                    callbacks=[DivergenceCheck(), *callbacks, checkpoint],
                    verbose=verbose,
                )
            if stop < last:
                left.revise(model.network, stop, again=is_past)
        if last == self.training.epochs:
            left.finish(model.network)
            check_finished(model.network)
        return self._predictor, left

    def ask(
        self,
        evidence: Evidence,
        examples: Examples,
        seed: int,
        checkpoint: Callable[[str], Checkpoint],
        **settings: Any,
    ) -> np.ndarray:
        """Returns what a filter inspects, see `Filter.inspect`.

        Args:
            evidence: what is asked of which undefended networks, if it is of networks.
            examples: what they are trained on, and asked about.
            seed: of the first network; the others have the next ones.
            checkpoint: from a name to the checkpoint of a training.
            **settings: other arguments of `train`.
        """
        if evidence.answers == "images":
            return averaged(examples, evidence.side)
        plain = self._plain(evidence.ascent)
        epochs = evidence.epochs(self.training.epochs)
        answers: list[np.ndarray] = []
        for number in range(evidence.networks):
            named = file_name("asked", *evidence.training, number)
            is_plain = evidence.training == Evidence().training and number == 0
            name = "plain" if is_plain else named
            predictor, _ = plain.train(
                examples, seed + number, checkpoint(name), until_epoch=epochs, **settings
            )
            answers.append(asked(predictor, evidence, examples))
            if evidence.repair is not None:
                answers += asked_repaired(predictor, evidence, examples, seed + number)
        return np.concatenate(answers, axis=1)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Returns loss and accuracy of the network that was trained last."""
        assert self._model is not None
        return self._model.evaluate(self._evaluation(examples), verbose=0, return_dict=True)

    def fresh_network(self, seed: int, pretrained: keras.Model | None = None) -> keras.Model:
        """Returns a network before its training: fresh weights, and what its scenario adds."""
        network = self.make_network(seed)
        self.scenario.start(network, pretrained)
        return network

    def last_learning_rate(self, examples: Examples, epochs: int) -> float:
        """Returns the learning rate of a training's last step where it stops after these epochs."""
        batches = data.batches_per_epoch(examples, self.data.batch_size)
        return optimization.last_learning_rate(self._settings, batches, epochs)

    def stream(self, examples: Examples, seed: int) -> Stream:
        """Returns the batches of a training with that seed; ValueError where they cannot serve."""
        replicas = self.strategy.num_replicas_in_sync
        stream = Stream(examples, self.data, seed, self._one_hot_classes, replicas)
        check_steps(self.training, stream.batches)
        return stream

    def _evaluation(self, examples: Examples) -> tf.data.Dataset:
        return data.evaluation_batches(
            examples, self.data.batch_size, one_hot_classes=self._one_hot_classes
        )

    def _fit(self, stream: Stream, checkpoint: Checkpoint, *, epochs: int, **settings: Any) -> None:
        """Trains the model from where its checkpoint stands to the end of the epochs.

        Where that is the end, the model is put there: what was to follow is still to come.
        """
        assert self._model is not None
        while True:
            # An epoch that was cut short is finished by itself: it has fewer batches.
            last = checkpoint.epoch + 1 if checkpoint.batch else epochs
            # Keras looks at a batch even if there is no epoch to train.
            end = max(last, checkpoint.epoch + 1)
            self._model.fit(
                stream.training(checkpoint.epoch, checkpoint.batch, end),
                initial_epoch=checkpoint.epoch,
                epochs=last,
                steps_per_epoch=stream.batches - checkpoint.batch,
                shuffle=False,
                **settings,
            )
            if checkpoint.epoch >= epochs:
                break

    def _watching(self, watch: Callable[[Predictor], dict[str, float]]) -> keras.callbacks.Callback:
        def look(epoch: int, logs: dict[str, Any]) -> None:
            logs |= watch(self._predictor)

        return keras.callbacks.LambdaCallback(on_epoch_end=look)

    def _plain(self, ascent: float | None) -> "Trainer":
        """Returns what trains networks for the defense's filter."""
        if ascent not in self._undefended:
            changes: dict[str, Any] = {"defense": Defense(), "ascent": ascent}
            self._undefended[ascent] = dataclasses.replace(self, **changes)
        return self._undefended[ascent]

    def _start(self, stream: Stream, seed: int, pretrained: keras.Model | None) -> RobustModel:
        """Returns the model before a training with that seed."""
        keras.utils.set_random_seed(seed)
        if self._model is None or not self._fresh:
            self._model = self._compile(stream, seed, pretrained)
        else:
            network = self.fresh_network(seed, pretrained)
            variables = [*self._model.variables, *self._model.optimizer.variables]
            for variable, value in zip(variables, self._fresh, strict=True):
                variable.assign(value)
            ours = self._model.network.variables
            for variable, fresh in zip(ours, network.variables, strict=True):
                variable.assign(fresh)
        first_step = (seed - self.seed) * 2**31
        self._model.set_first_step(first_step)
        optimizer = self._model.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = optimizer.inner_optimizer
        if isinstance(optimizer, GradientShaping):
            optimizer.set_first_step(first_step)
        return self._model

    def _compile(self, stream: Stream, seed: int, pretrained: keras.Model | None) -> RobustModel:
        settings = self._settings
        with self.strategy.scope():
            network = self.fresh_network(seed, pretrained)
            optimization.add_weight_decay(network, settings)
            model = RobustModel(
                network,
                self.defense.crafting,
                transform=self.defense.transform,
                mixing=self.defense.mixing,
                seed=self.seed,
            )
            model.compile(
                self.defense.optimizer(
                    optimization.make_optimizer(settings, stream.batches), seed=self.seed
                ),
                self._loss(),
                metrics=["accuracy"],
                steps_per_execution=settings.steps_per_execution,
                jit_compile="auto" if settings.jit_compile is None else settings.jit_compile,
            )
            distributed = tf.distribute.has_strategy()
        if not distributed:  # Else Keras makes the optimizer's variables in `fit` alone.
            model.create_state(stream.training(0, 0, 1))
            variables = [*model.variables, *model.optimizer.variables]
            self._fresh = [keras.ops.convert_to_numpy(each) for each in variables]
        self._predictor = Predictor(model.network)
        return model

    def _loss(self) -> keras.losses.Loss:
        loss = self._settings.loss(one_hot=self._one_hot_classes is not None)
        return loss if self.ascent is None else LocalAscent(loss, self.ascent)


def save_weights(directory: RunDirectory, name: str, weights: Sequence[np.ndarray]) -> None:
    """Writes a network's weights to a file, whole or not at all."""
    directory.write_arrays(name, {f"arr_{number}": each for number, each in enumerate(weights)})


def load_weights(directory: RunDirectory, name: str) -> Weights | None:
    """Returns the weights that `save_weights` wrote; None where there are none."""
    with directory.arrays(name, "Remove it: the network is trained again.") as arrays:
        if arrays is None:
            return None
        return [arrays[f"arr_{number}"] for number in range(len(arrays))]
