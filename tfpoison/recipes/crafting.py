"""Crafting over a whole data set, before training.

    for each restart: δ ~ initial draw
      for each step:  δ ← project(δ - rate · sign-Adam of ∇δ mean over surrogates of
                                objective(augment(x + δ), y, targets, fake labels))
    keep the δ of the smallest objective

Objective, perturbation and optimizer are those of the defense; only the time differs. Source: arXiv
2009.02276, algorithm 1.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison.attacks.attack import BoundObjective
from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.data import Augmentation
from tfpoison.perturbations.additive import Additive, BoundAdditive
from tfpoison.perturbations.perturbation import BoundPerturbation, SeenThrough
from tfpoison.perturbations.table import OPTIMIZERS
from tfpoison.perturbations.universal import BoundUniversal
from tfpoison.pixel_range import PixelRange, to_unit_range
from tfpoison.progress import Progress
from tfpoison.randomness import Purpose
from tfpoison.recipes.crafting_state import Array, State
from tfpoison.recipes.recipe import Crafted

_GREY_LEVELS = 255

Retrain = Callable[[int, np.ndarray], Sequence[keras.Model]]
Transform = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Task:
    """What is crafted.

    Attributes:
        images: the clean images of the poisons, uint8 in 0–255, (n, H, W, C).
        labels: their labels, (n,).
        targets: the target images, uint8 in 0–255, (targets, H, W, C).
        target_labels: what the adversary wants them to be called, (targets,).
        seed: of initial draws and augmentation.
        retrain: trains surrogates anew on given poisons (number of the retraining, uint8 images
            (n, H, W, C)) and returns them; needed where the recipe asks for it.
    """

    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    target_labels: np.ndarray
    seed: int
    retrain: Retrain | None = None

    def batches(self, most: int) -> list[tuple[tf.Tensor, ...]]:
        """Returns the tensors of a `SplitBatch` for each of the equal parts of the poisons."""
        parts = -(-len(self.images) // most)
        targets = to_unit_range(self.targets)
        fake_labels = tf.constant(np.asarray(self.target_labels, np.int64))
        halves = (np.array_split(each, parts) for each in (self.images, self.labels))
        return [
            (
                to_unit_range(images),
                tf.constant(np.asarray(labels, np.int64)),
                *(targets, fake_labels, fake_labels),
            )
            for images, labels in zip(*halves, strict=True)
        ]

    def changed(self, changes: np.ndarray) -> np.ndarray:
        """Returns the poisons, uint8 (n, H, W, C), of changes in grey levels."""
        return np.clip(self.images + changes, 0, _GREY_LEVELS).astype(np.uint8)


class Crafter:
    """Crafts poisons against surrogates.

    It may be used for many threats: its graphs are traced once for each number of poisons.

    Args:
        recipe: how the perturbation is optimised.
        surrogates: networks with (n, classes) outputs; the objective is the mean over them.
        loss: what the surrogates are trained with.
        features: see `RobustModel`.
        learning_rates: what the training of each surrogate has come to; objectives that unroll
            training steps take them at that rate, as the code of arXiv 2009.02276 does. None for
            the rate of the objective.
        transform: what the victim is known to see every training image through, see
            `tfpoison.defenses.Transform`; None for nothing.
    """

    def __init__(
        self,
        recipe: Crafted,
        surrogates: Sequence[keras.Model],
        loss: Any,
        *,
        features: str | None = None,
        learning_rates: Sequence[float] | None = None,
        transform: Transform | None = None,
    ):
        if not surrogates:
            raise ValueError("Expected at least one surrogate to craft against. Received none.")
        self.recipe = recipe
        self.surrogates = list(surrogates)
        target_loss = recipe.make_target_loss()
        self._classifiers = [
            Classifier(each, loss, feature_layer=features, target_loss=target_loss)
            for each in self.surrogates
        ]
        self._objectives = [recipe.objective] * len(self.surrogates)
        if learning_rates is not None:
            if len(learning_rates) != len(self.surrogates):
                raise ValueError(
                    "Expected one learning rate for each surrogate. Received: "
                    f"{len(learning_rates)} for {len(self.surrogates)} surrogate(s)"
                )
            self._objectives = [recipe.objective.at_rate(rate) for rate in learning_rates]
        self._pixels = PixelRange()
        self._augmentation = recipe.make_augmentation()
        self._transform = transform
        self._optimizer = OPTIMIZERS.get(
            recipe.optimizer, radius=recipe.epsilon, step_size=recipe.step_size
        )
        self._prepare = tf.function(self._prepare_objectives, reduce_retracing=True)
        self._take_step = tf.function(self._step, reduce_retracing=True)
        self._measure = tf.function(self._value, reduce_retracing=True)

    def craft(
        self,
        task: Task,
        *,
        state_file: pathlib.Path | None = None,
        seconds: float = 60,
        verbose: bool = False,
    ) -> tuple[np.ndarray, list[float]]:
        """Crafts poisons.

        Args:
            task: what is crafted.
            state_file: where a crafting is saved and goes on from; None for nowhere. To be removed
                once the poisons are on disk: another crafting that finds it ends as this one.
            seconds: the time between two saves.
            verbose: whether progress is told.

        Returns:
            What changes the images, in grey levels, int16 (n, H, W, C), or (1, H, W, C) where it is
            a trigger, within ε exactly; and the objective that each restart ended with; restarts
            that ended with NaN or infinity are passed over.

        Raises:
            ValueError: surrogates are to be trained anew and nobody says how, or every restart
                ended with NaN or infinity.
        """
        if self.recipe.retrainings and task.retrain is None:
            raise ValueError("Expected a way to train surrogates anew. Received none.")
        originals = [each.get_weights() for each in self.surrogates]
        state = State.load(state_file) or State()
        saver = _Saver(state, state_file, seconds)
        self._restart_until_done(state, task, originals, saver, verbose)
        self._set_weights(originals)
        if not state.best:
            saver.discard()
            raise ValueError(
                "Expected an objective that is a number at the end of one restart or more. "
                f"Received: NaN from all {self.recipe.restarts}, or infinity. The surrogates' "
                "weights or losses are not finite: train them at a lower learning rate, or with "
                "clipnorm."
            )
        saver.save()
        return self._to_grey_levels(state.best), state.history

    # The loop.

    def _restart_until_done(
        self, state: State, task: Task, originals: list, saver: "_Saver", verbose: bool
    ) -> None:
        recipe, batches = self.recipe, task.batches(self.recipe.batch_size)
        done = state.restart * recipe.steps + state.step
        total, note = recipe.restarts * recipe.steps, ""
        progress = Progress("steps of brewing", total, done=done, verbose=verbose)
        while state.restart < recipe.restarts:
            if not state.deltas:
                self._set_weights(originals)
                self._start(state, batches, task.seed)
            elif state.retrained_on:
                # An interrupted brewing had other surrogates by then: they are trained once more.
                self._retrain(state, task)
            prepared = [self._prepare(*batch) for batch in batches]
            while state.step < recipe.steps:
                if recipe.retrains_at(state.step) and state.retrained_at != state.step:
                    state.retrained_on, state.retrained_at = list(state.deltas), state.step
                    self._retrain(state, task)
                    prepared = [self._prepare(*batch) for batch in batches]
                self._step_all(state, batches, prepared, task.seed)
                done += 1
                if verbose and state.step % max(recipe.steps // 10, 1) == 0:
                    note = f"objective {self._mean_value(state, batches, prepared):.4f}"
                progress.show(done, note)
                saver.save_now_and_then()
            state.end_restart(self._mean_value(state, batches, prepared))

    def _start(self, state: State, batches: list[tuple[tf.Tensor, ...]], seed: int) -> None:
        start = Additive(self.recipe.epsilon, self.recipe.initializer)
        encoding = LabelEncoding(2, one_hot=False)
        for number, batch in enumerate(batches[:1] if self.recipe.crafts_trigger else batches):
            key = Purpose.BREWING_START.key(seed, state.restart, number)
            parts = SplitBatch(*batch)
            bound = start.bind(parts, pixels=self._pixels, encoding=encoding, key=key)
            delta = bound.initial[0][:1] if self.recipe.crafts_trigger else bound.initial[0]
            delta = self._bind(parts, delta).project([delta])[0]
            state.deltas.append(delta)
            state.moments.append([each[0] for each in self._optimizer.start([delta])])

    def _step_all(self, state: State, batches, prepared, seed: int) -> None:
        rate = tf.constant(self.recipe.rate(state.step), tf.float32)
        for number, batch in enumerate(batches):
            key = Purpose.BREWING_STEP.key(seed, state.restart, state.step, number)
            # A trigger is one for all batches.
            at = number % len(state.deltas)
            state.deltas[at], state.moments[at] = self._take_step(
                state.deltas[at],
                state.moments[at],
                tf.constant(state.step),
                rate,
                key,
                prepared[number],
                *batch,
            )
        state.step += 1

    def _mean_value(self, state: State, batches, prepared) -> float:
        values = [
            self._measure(state.deltas[number % len(state.deltas)], each, *batch)
            for number, (each, batch) in enumerate(zip(prepared, batches, strict=True))
        ]
        return float(np.mean([value.numpy() for value in values]))

    def _retrain(self, state: State, task: Task) -> None:
        assert task.retrain is not None
        number = state.restart * self.recipe.retrainings
        number += self.recipe.retrainings_until(state.retrained_at)
        poisoned = task.changed(self._to_grey_levels(state.retrained_on))
        trained = task.retrain(number, poisoned)
        self._set_weights([each.get_weights() for each in trained])

    def _set_weights(self, weights: list[list[np.ndarray]]) -> None:
        for surrogate, values in zip(self.surrogates, weights, strict=True):
            surrogate.set_weights(values)

    def _to_grey_levels(self, deltas: list[Array]) -> np.ndarray:
        """Returns δ in whole grey levels, not beyond ε."""
        # The small term mends products such as 0.0627451 · 255 = 15.9999999.
        most = np.floor(self.recipe.epsilon * _GREY_LEVELS + 1e-6)
        change = np.rint(np.concatenate(deltas) * _GREY_LEVELS)
        return np.clip(change, -most, most).astype(np.int16)

    # The graphs.

    def _prepare_objectives(self, *batch: tf.Tensor) -> list[Any]:
        parts = SplitBatch(*batch)
        return [
            objective.prepare(classifier, parts)
            for objective, classifier in zip(self._objectives, self._classifiers, strict=True)
        ]

    def _bind(self, batch: SplitBatch, delta: tf.Tensor) -> BoundPerturbation:
        if not self.recipe.crafts_trigger:
            return BoundAdditive(batch, self._pixels, delta, self.recipe.epsilon)
        first = tf.zeros(tf.shape(batch.poison_images)[:1], tf.int32)
        return BoundUniversal(batch, self._pixels, [delta], first, self.recipe.epsilon)

    def _step(self, delta, moments, iteration, rate, key, prepared, *batch):
        bound = self._bind(SplitBatch(*batch), delta)
        aims = self._aims(self._seen(bound, self._augmentation, key), prepared)
        gradients = [aim.gradients([delta])[0] for aim in aims]
        gradient = tf.add_n(gradients) / len(gradients)
        step_size = rate * self._optimizer.step_size
        optimizer = type(self._optimizer)(self._optimizer.radius, step_size)
        moments = [[each] for each in moments]
        parameters, moments = optimizer.step(iteration, [delta], [gradient], moments)
        return bound.project(parameters)[0], [each[0] for each in moments]

    def _value(self, delta, prepared, *batch):
        bound = self._bind(SplitBatch(*batch), delta)
        values = [aim.value([delta]) for aim in self._aims(self._seen(bound), prepared)]
        return tf.add_n(values) / len(values)

    def _seen(
        self,
        bound: BoundPerturbation,
        augmentation: Augmentation | None = None,
        key: tf.Tensor | None = None,
    ) -> BoundPerturbation:
        """Returns the perturbation as the victim sees its poisons: augmented, then transformed."""
        if augmentation is not None:
            draws = augmentation.draw(key, tf.shape(bound.batch.poison_images)[0])
            bound = SeenThrough(bound, lambda images: augmentation.apply(images, draws))
        return bound if self._transform is None else SeenThrough(bound, self._transform)

    def _aims(self, bound: BoundPerturbation, prepared: list[Any]) -> list[BoundObjective]:
        parts = zip(self._objectives, self._classifiers, prepared, strict=True)
        return [
            BoundObjective(objective, classifier, bound, each)
            for objective, classifier, each in parts
        ]


class _Saver:
    """Keeps a state in a file, if there is to be any."""

    def __init__(self, state: State, path: pathlib.Path | None, seconds: float):
        self._state, self._path, self._seconds = state, path, seconds
        self._saved_at = time.monotonic()

    def save_now_and_then(self) -> None:
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save()

    def save(self) -> None:
        if self._path is not None:
            self._state.save(self._path)
        self._saved_at = time.monotonic()

    def discard(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
