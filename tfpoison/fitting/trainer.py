"""Victims and surrogates: networks that are trained many times over, from fresh weights."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfpoison import files, networks
from tfpoison.data import Examples
from tfpoison.defenses import Defense, GradientShaping
from tfpoison.evaluation import Predictor
from tfpoison.fitting import optimization
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.stream import Stream
from tfpoison.fitting.training_set import fit_defended, remove_suspects
from tfpoison.recipes.scenario import Scenario
from tfpoison.runs.checkpoint import Checkpoint
from tfpoison.runs.run_directory import RunDirectory
from tfpoison.training import RobustModel

Weights = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How networks of one kind are trained.

    Attributes:
        network: the network.
        image_shape: height, width and channels.
        classes: the number of classes.
        mean: of the pixels, for the network's normalisation.
        std: of the pixels.
        data: batch size and augmentation.
        training: optimizer, schedule, epochs; its seed is not used.
        defense: the defense.
        scenario: what the networks start from, and which weights train.
    """

    network: NetworkSettings
    image_shape: tuple[int, int, int]
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: DataSettings
    training: TrainingSettings
    defense: Defense
    scenario: Scenario

    def make_network(self, seed: int, pretrained: keras.Model | None = None) -> keras.Model:
        """Returns a network before its training.

        Args:
            seed: of the fresh weights.
            pretrained: what the scenario starts from, if it does.
        """
        network = networks.get(
            image_shape=self.image_shape,
            classes=self.classes,
            mean=self.mean,
            std=self.std,
            seed=seed,
            **self.network.choice,
        )
        self.scenario.start(network, pretrained)
        return network

    def training_from(self, seed: int) -> TrainingSettings:
        """Returns the settings of a training with that seed, at the scenario's rate."""
        rate = self.training.learning_rate * self.scenario.rate_factor
        return dataclasses.replace(self.training, seed=seed, learning_rate=rate)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network after its training.

    Attributes:
        predictor: answers for the network, until the next one is trained.
        kept: positions of the examples that the defense has left in the training set, ascending.
    """

    predictor: Predictor
    kept: np.ndarray


class Trainer:
    """Trains networks of one kind, each from fresh weights.

    One model is compiled and traced, and put back to its start for every training: small networks
    train in less time than tracing takes. Trained one after the other or each in a process of its
    own, networks end with the same bits.

    Args:
        plan: how they are trained.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self._model: RobustModel | None = None
        self._plain: Trainer | None = None
        self._fresh: list[np.ndarray] = []
        self._predictor: Predictor | None = None

    def train(
        self,
        examples: Examples,
        seed: int,
        *,
        pretrained: keras.Model | None = None,
        until_epoch: int | None = None,
        checkpoint: Checkpoint,
        watch: Callable[[Predictor], float] | None = None,
        verbose: int = 0,
    ) -> Trained:
        """Trains a network and returns it; it is overwritten by the next training.

        Args:
            examples: the training set.
            seed: of weights, order, augmentation, dropout and crafting.
            pretrained: what the scenario starts from.
            until_epoch: the epoch to stop after; None for the last one.
            checkpoint: where an interrupted training goes on.
            watch: looked at after every epoch; recorded as `watched` in the checkpoint's rows.
            verbose: Keras's verbosity.
        """
        training, defense = self.plan.training_from(seed), self.plan.defense

        def train_plain(inner: Checkpoint) -> keras.Model:
            trained = self._undefended().train(
                examples, seed, pretrained=pretrained, checkpoint=inner, verbose=verbose
            )
            return trained.predictor.network

        def make_stream(some: Examples) -> Stream:
            return Stream(
                some,
                self.plan.data,
                training,
                classes=self.plan.classes,
                one_hot=defense.needs_one_hot,
            )

        left = remove_suspects(defense, examples, checkpoint, seed=seed, train_plain=train_plain)
        model = self._reset(training, make_stream(examples), pretrained)
        assert self._predictor is not None
        left = fit_defended(
            model,
            defense,
            examples,
            left,
            make_stream,
            checkpoint,
            [] if watch is None else [_Watch(self._predictor, watch)],
            epochs=training.epochs,
            until_epoch=training.epochs if until_epoch is None else until_epoch,
            seed=seed,
            verbose=verbose,
        )
        return Trained(self._predictor, left.kept)

    def _undefended(self) -> "Trainer":
        if self._plain is None:
            self._plain = Trainer(dataclasses.replace(self.plan, defense=Defense()))
        return self._plain

    def _reset(
        self, training: TrainingSettings, stream: Stream, pretrained: keras.Model | None
    ) -> RobustModel:
        keras.utils.set_random_seed(training.seed)
        if self._model is None:
            self._model = self._compile(training, stream, pretrained)
        network = self.plan.make_network(training.seed, pretrained)
        variables = [*self._model.variables, *self._model.optimizer.variables]
        for variable, value in zip(variables, self._fresh, strict=True):
            variable.assign(value)
        for variable, fresh in zip(self._model.network.variables, network.variables, strict=True):
            variable.assign(fresh)
        # Crafting and noise draw by the number of the step: no training has as many as 2**31.
        first_step = training.seed * 2**31
        self._model.set_first_step(first_step)
        optimizer = self._model.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = optimizer.inner_optimizer
        if isinstance(optimizer, GradientShaping):
            optimizer.set_first_step(first_step)
        return self._model

    def _compile(
        self, training: TrainingSettings, stream: Stream, pretrained: keras.Model | None
    ) -> RobustModel:
        network = self.plan.make_network(training.seed, pretrained)
        optimization.add_weight_decay(network, training)
        model = RobustModel(network, seed=0, **self.plan.defense.robust_model_arguments())
        defense = self.plan.defense
        model.compile(
            defense.optimizer(optimization.make_optimizer(training, stream.batches)),
            training.loss(one_hot=defense.needs_one_hot),
            metrics=["accuracy"],
            steps_per_execution=training.steps_per_execution,
            jit_compile="auto" if training.jit_compile is None else training.jit_compile,
        )
        model.create_state(stream.training(0, 0, 1))
        variables = [*model.variables, *model.optimizer.variables]
        self._fresh = [keras.ops.convert_to_numpy(each) for each in variables]
        self._predictor = Predictor(model.network)
        return model


class _Watch(keras.callbacks.Callback):
    def __init__(self, predictor: Predictor, watch: Callable[[Predictor], float]):
        super().__init__()
        self._predictor = predictor
        self._watch = watch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["watched"] = self._watch(self._predictor)


def save_weights(directory: RunDirectory, name: str, weights: Sequence[np.ndarray]) -> None:
    """Writes a network's weights to a file, whole or not at all."""
    directory.write_arrays(name, {f"arr_{number}": each for number, each in enumerate(weights)})


def load_weights(directory: RunDirectory, name: str) -> Weights | None:
    """Returns the weights that `save_weights` wrote; None where there are none."""
    path = directory.path / name
    if not path.exists():
        return None
    with files.read_back(path, "Remove it: the network is trained again."):
        arrays = files.read_arrays(path)
        return [arrays[f"arr_{number}"] for number in range(len(arrays))]
