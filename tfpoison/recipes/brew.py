"""Crafting over a whole data set, before training.

    for each restart: δ ~ initial draw
      for each step:  δ ← project(δ - rate · sign-Adam of ∇δ mean over surrogates of
                                objective(augment(x + δ), y, targets, fake labels))
    keep the δ of the smallest objective

Objective, perturbation and optimizer are those of the defense; only the time differs. Source: arXiv
2009.02276, algorithm 1.
"""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison import files, objectives, perturbations, valid_json
from tfpoison.attacks.attack import BoundObjective
from tfpoison.batch import LabelEncoding, SplitBatch
from tfpoison.checks import check_number, make_plain
from tfpoison.classifier import Classifier
from tfpoison.data import Augmentation
from tfpoison.perturbations.additive import Additive, BoundAdditive
from tfpoison.perturbations.perturbation import BoundPerturbation
from tfpoison.perturbations.table import INITIALIZERS, OPTIMIZERS
from tfpoison.pixel_range import PixelRange, to_unit_range
from tfpoison.randomness import Purpose

_GREY_LEVELS = 255
# The rate falls to a tenth at these shares of the steps (arXiv 2009.02276, section 4).
_DECAYS = (3 / 8, 5 / 8, 7 / 8)

Retrain = Callable[[int, np.ndarray], Sequence[keras.Model]]


@dataclasses.dataclass(frozen=True)
class BrewSettings:
    """How a perturbation is optimised over a whole set of poisons.

    Attributes:
        objective: what the poisons should achieve.
        epsilon: ε, as a share of the pixel range.
        steps: steps of the optimizer.
        step_size: as of `tfpoison.Attack`; it falls to a tenth at 3/8, 5/8 and 7/8 of the steps.
        optimizer: `"sign_adam"`, `"pgd"`, `"momentum"` or `"adam"`.
        initializer: where δ starts.
        restarts: how often it is tried; the best is kept.
        augmentation: of the poisons, at every step; None for none.
        batch_size: the most poisons that are crafted as one; more are crafted in equal parts, each
            for itself, as the authors' code does.
        retrainings: how often the surrogates are trained anew on the poisons, at equal distances.
    """

    objective: objectives.Objective
    epsilon: float = 16 / 255
    steps: int = 250
    step_size: float | None = None
    optimizer: str = "sign_adam"
    initializer: str = "normal"
    restarts: int = 8
    augmentation: Augmentation | None = None
    batch_size: int = 512
    retrainings: int = 0

    def __post_init__(self) -> None:
        make_plain(self)
        check_number("epsilon", self.epsilon, minimum=0, maximum=1)
        check_number("steps", self.steps, minimum=1, whole=True)
        check_number("restarts", self.restarts, minimum=1, whole=True)
        check_number("batch_size", self.batch_size, minimum=1, whole=True)
        check_number("retrainings", self.retrainings, minimum=0, whole=True)
        if self.step_size is not None:
            check_number("step_size", self.step_size, minimum=0, exclusive_minimum=True)
        OPTIMIZERS.check(self.optimizer)
        INITIALIZERS.check(self.initializer)
        if self.retrainings >= self.steps:
            raise ValueError(
                "Expected fewer retrainings than steps. Received: "
                f"{self.retrainings} of {self.steps}"
            )

    def rate(self, step: int) -> float:
        """Returns what the step size is multiplied by at a step; at the first it is 1."""
        # However few the steps are, one is made at each rate before the next lower one.
        falls = [max(int(self.steps * share), n) for n, share in enumerate(_DECAYS, 1)]
        return 0.1 ** sum(step >= fall for fall in falls)

    def retrains_at(self, step: int) -> bool:
        """Returns whether the surrogates are trained anew before a step."""
        if not self.retrainings or step == 0:
            return False
        interval = self.steps / (self.retrainings + 1)
        return int(step / interval) > int((step - 1) / interval)


@dataclasses.dataclass
class _State:
    """Where a brewing is; all of it is saved."""

    restart: int = 0
    step: int = 0
    deltas: list[np.ndarray] = dataclasses.field(default_factory=list)
    moments: list[list[np.ndarray]] = dataclasses.field(default_factory=list)
    best: list[np.ndarray] = dataclasses.field(default_factory=list)
    history: list[float] = dataclasses.field(default_factory=list)
    retrained_on: list[np.ndarray] = dataclasses.field(default_factory=list)
    retrained_at: int = 0

    def end_restart(self, value: float) -> None:
        """Keeps what was crafted if it is the best so far, and makes ready for the next start."""
        # Nothing would ever be smaller than NaN.
        earlier = [each for each in self.history if math.isfinite(each)]
        if math.isfinite(value) and value < min(earlier, default=math.inf):
            self.best = self.deltas
        self.history.append(value)
        self.restart, self.step, self.retrained_at = self.restart + 1, 0, 0
        self.deltas, self.moments, self.retrained_on = [], [], []


class _Progress:
    """A progress bar over all steps, with the objective at every tenth of a restart."""

    def __init__(self, settings: BrewSettings, verbose: bool):
        self._steps = settings.steps
        self._bar = None
        if verbose:
            total = settings.restarts * settings.steps
            self._bar = keras.utils.Progbar(total, unit_name="step", stateful_metrics=["objective"])

    def show(self, state: _State, value: Callable[[], float]) -> None:
        if self._bar is None:
            return
        done = state.restart * self._steps + state.step
        told = state.step % max(self._steps // 10, 1) == 0
        shown = [("objective", value())] if told else []
        self._bar.update(done, shown, finalize=done == self._bar.target)


class Brewer:
    """Crafts poisons against surrogates.

    It may be used for many threats: its graphs are traced once for each number of poisons.

    Args:
        settings: how the perturbation is optimised.
        surrogates: networks with (n, classes) outputs; the objective is the mean over them.
        loss: what the surrogates are trained with.
        target_loss: what the targets lose under their fake labels; None for `loss`.
        features: see `RobustModel`.
        learning_rates: what the training of each surrogate has come to; objectives that unroll
            training steps take them at that rate, as the code of arXiv 2009.02276 does. None for
            the rate of the objective.
    """

    def __init__(
        self,
        settings: BrewSettings,
        surrogates: Sequence[keras.Model],
        loss: Any,
        *,
        target_loss: Any = None,
        features: str | None = None,
        learning_rates: Sequence[float] | None = None,
    ):
        if not surrogates:
            raise ValueError("Expected at least one surrogate to craft against. Received none.")
        self.settings = settings
        self.surrogates = list(surrogates)
        self._classifiers = [
            Classifier(each, loss, feature_layer=features, target_loss=target_loss)
            for each in self.surrogates
        ]
        self._objectives = [settings.objective] * len(self.surrogates)
        if learning_rates is not None:
            if len(learning_rates) != len(self.surrogates):
                raise ValueError(
                    "Expected one learning rate for each surrogate. Received: "
                    f"{len(learning_rates)} for {len(self.surrogates)} surrogate(s)"
                )
            self._objectives = [settings.objective.at_rate(rate) for rate in learning_rates]
        self._pixels = PixelRange()
        self._optimizer = OPTIMIZERS.get(
            settings.optimizer, radius=settings.epsilon, step_size=settings.step_size
        )
        self._prepare = tf.function(self._prepare_objectives, reduce_retracing=True)
        self._take_step = tf.function(self._step, reduce_retracing=True)
        self._measure = tf.function(self._value, reduce_retracing=True)

    def brew(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        targets: np.ndarray,
        target_labels: np.ndarray,
        *,
        seed: int,
        retrain: Retrain | None = None,
        state_file: pathlib.Path | None = None,
        seconds: float = 60,
        verbose: bool = False,
    ) -> tuple[np.ndarray, list[float]]:
        """Crafts poisons.

        Args:
            images: the clean images of the poisons, uint8 in 0–255, (n, H, W, C).
            labels: their labels, (n,).
            targets: the target images, uint8 in 0–255, (targets, H, W, C).
            target_labels: what the adversary wants them to be called, (targets,).
            seed: of initial draws and augmentation.
            retrain: trains surrogates anew on given poisons (number of the retraining, uint8 images
                (n, H, W, C)) and returns them; needed where the settings ask for it.
            state_file: where a brewing is saved and goes on from; None for nowhere. To be removed
                once the poisons are on disk: another brewing that finds it ends as this one.
            seconds: the time between two saves.
            verbose: whether a progress bar is shown.

        Returns:
            The poisons, uint8 (n, H, W, C), within ε exactly, and the objective that each restart
            ended with; restarts that ended with NaN or infinity are passed over.

        Raises:
            ValueError: surrogates are to be trained anew and nobody says how, or every restart
                ended with NaN or infinity.
        """
        settings = self.settings
        if settings.retrainings and retrain is None:
            raise ValueError("Expected a way to train surrogates anew. Received none.")
        batches = self._batches(images, labels, targets, target_labels)
        originals = [each.get_weights() for each in self.surrogates]
        state = _load(state_file) or _State()
        saved_at = time.monotonic()
        progress = _Progress(settings, verbose)
        while state.restart < settings.restarts:
            if not state.deltas:
                self._set_weights(originals)
                self._start(state, batches, seed)
            elif state.retrained_on:
                # An interrupted brewing had other surrogates by then: they are trained once more.
                self._retrain(state, retrain, images)
            prepared = [self._prepare(*batch) for batch in batches]
            while state.step < settings.steps:
                if settings.retrains_at(state.step) and state.retrained_at != state.step:
                    state.retrained_on, state.retrained_at = list(state.deltas), state.step
                    self._retrain(state, retrain, images)
                    prepared = [self._prepare(*batch) for batch in batches]
                self._step_all(state, batches, prepared, seed)
                progress.show(state, functools.partial(self._mean_value, state, batches, prepared))
                if state_file and time.monotonic() - saved_at >= seconds:
                    _save(state, state_file)
                    saved_at = time.monotonic()
            state.end_restart(self._mean_value(state, batches, prepared))
        self._set_weights(originals)
        if not state.best:
            if state_file is not None:
                state_file.unlink(missing_ok=True)
            raise ValueError(
                "Expected an objective that is a number at the end of one restart or more. "
                f"Received: NaN from all {settings.restarts}, or infinity. The surrogates' weights "
                "or losses are not finite: train them at a lower learning rate, or with clipnorm."
            )
        if state_file is not None:
            _save(state, state_file)
        return self._to_images(images, state.best), state.history

    # The graphs.

    def _prepare_objectives(self, *batch: tf.Tensor) -> list[Any]:
        parts = SplitBatch(*batch)
        return [
            objective.prepare(classifier, parts)
            for objective, classifier in zip(self._objectives, self._classifiers, strict=True)
        ]

    def _step(self, delta, moments, iteration, rate, key, prepared, *batch):
        bound = BoundAdditive(SplitBatch(*batch), self._pixels, delta, self.settings.epsilon)
        seen = _Augmented(bound, self.settings.augmentation, key)
        gradients = [aim.gradients([delta])[0] for aim in self._aims(seen, prepared)]
        gradient = tf.add_n(gradients) / len(gradients)
        optimizer = type(self._optimizer)(rate * self._optimizer.step_size, self._optimizer.radius)
        moments = [[each] for each in moments]
        parameters, moments = optimizer.step(iteration, [delta], [gradient], moments)
        return bound.project(parameters)[0], [each[0] for each in moments]

    def _value(self, delta, prepared, *batch):
        bound = BoundAdditive(SplitBatch(*batch), self._pixels, delta, self.settings.epsilon)
        values = [aim.value([delta]) for aim in self._aims(bound, prepared)]
        return tf.add_n(values) / len(values)

    def _aims(self, bound: BoundPerturbation, prepared: list[Any]) -> list[BoundObjective]:
        return [
            BoundObjective(objective, classifier, bound, each)
            for objective, classifier, each in zip(
                self._objectives, self._classifiers, prepared, strict=True
            )
        ]

    # The loop.

    def _batches(self, images, labels, targets, target_labels) -> list[tuple[tf.Tensor, ...]]:
        parts = -(-len(images) // self.settings.batch_size)
        targets = to_unit_range(targets)
        target_labels = tf.constant(np.asarray(target_labels, np.int64))
        return [
            (
                to_unit_range(some),
                tf.constant(np.asarray(theirs, np.int64)),
                targets,
                target_labels,
                target_labels,
            )
            for some, theirs in zip(
                np.array_split(images, parts), np.array_split(labels, parts), strict=True
            )
        ]

    def _start(self, state: _State, batches: list[tuple[tf.Tensor, ...]], seed: int) -> None:
        start = Additive(self.settings.epsilon, self.settings.initializer)
        encoding = LabelEncoding(2, one_hot=False)
        for number, batch in enumerate(batches):
            key = Purpose.BREWING_START.key(seed, state.restart, number)
            bound = start.bind(SplitBatch(*batch), pixels=self._pixels, encoding=encoding, key=key)
            delta = bound.project(bound.initial)[0]
            state.deltas.append(delta.numpy())
            state.moments.append([each[0].numpy() for each in self._optimizer.start([delta])])

    def _step_all(self, state: _State, batches, prepared, seed: int) -> None:
        rate = tf.constant(self.settings.rate(state.step), tf.float32)
        for number, batch in enumerate(batches):
            key = Purpose.BREWING_STEP.key(seed, state.restart, state.step, number)
            delta, moments = self._take_step(
                tf.constant(state.deltas[number]),
                [tf.constant(each) for each in state.moments[number]],
                tf.constant(state.step),
                rate,
                key,
                prepared[number],
                *batch,
            )
            state.deltas[number] = delta.numpy()
            state.moments[number] = [each.numpy() for each in moments]
        state.step += 1

    def _mean_value(self, state: _State, batches, prepared) -> float:
        values = [
            self._measure(tf.constant(delta), each, *batch)
            for delta, each, batch in zip(state.deltas, prepared, batches, strict=True)
        ]
        return float(np.mean([value.numpy() for value in values]))

    def _retrain(self, state: _State, retrain: Retrain | None, images: np.ndarray) -> None:
        assert retrain is not None
        interval = self.settings.steps / (self.settings.retrainings + 1)
        number = state.restart * self.settings.retrainings + int(state.retrained_at / interval)
        trained = retrain(number, self._to_images(images, state.retrained_on))
        self._set_weights([each.get_weights() for each in trained])

    def _set_weights(self, weights: list[list[np.ndarray]]) -> None:
        for surrogate, values in zip(self.surrogates, weights, strict=True):
            surrogate.set_weights(values)

    def _to_images(self, images: np.ndarray, deltas: list[np.ndarray]) -> np.ndarray:
        """Returns 8-bit poisons: δ in whole grey levels, not beyond ε."""
        # The small term mends products such as 0.0627451 · 255 = 15.9999999.
        most = np.floor(self.settings.epsilon * _GREY_LEVELS + 1e-6)
        change = np.clip(np.rint(np.concatenate(deltas) * _GREY_LEVELS), -most, most)
        return np.clip(images + change, 0, _GREY_LEVELS).astype(np.uint8)


class _Augmented(BoundPerturbation):
    """A perturbation whose poisons are seen augmented, as the victim will see them."""

    def __init__(self, bound: BoundAdditive, augmentation: Augmentation | None, key: tf.Tensor):
        super().__init__(bound.batch, bound.pixels, bound.initial)
        self._bound = bound
        self._augmentation = augmentation
        self._draws = None
        if augmentation is not None:
            self._draws = augmentation.draw(key, tf.shape(bound.batch.poison_images)[0])

    def apply(self, parameters: perturbations.perturbation.Parameters) -> SplitBatch:
        perturbed = self._bound.apply(parameters)
        if self._augmentation is None:
            return perturbed
        images = self._augmentation.apply(perturbed.poison_images, self._draws)
        return perturbed.replace(poison_images=images)


_LISTS = ("deltas", "best", "retrained_on")
_NUMBERS = ("restart", "step", "history", "retrained_at")


def _save(state: _State, path: pathlib.Path) -> None:
    arrays = {
        f"{name}_{number}": each
        for name in _LISTS
        for number, each in enumerate(getattr(state, name))
    }
    for number, moments in enumerate(state.moments):
        arrays |= {f"moments_{number}_{which}": each for which, each in enumerate(moments)}
    numbers = {name: getattr(state, name) for name in _NUMBERS}
    arrays["numbers"] = np.array(valid_json.dumps(numbers))
    files.write_whole(path, lambda file: files.write_arrays(file, arrays))


def _load(path: pathlib.Path | None) -> _State | None:
    if path is None or not path.exists():
        return None
    with files.read_back(path, "Remove it: the brewing starts again."):
        arrays = files.read_arrays(path)
        state = _State(**files.parse_json(str(arrays.pop("numbers"))))
        # JSON has no NaN, as the objective of a restart may be.
        state.history = [math.nan if each is None else each for each in state.history]
    for name in _LISTS:
        setattr(state, name, _numbered(arrays, name))
    state.moments = [_numbered(arrays, f"moments_{n}") for n in range(len(state.deltas))]
    return state


def _numbered(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    while f"{name}_{len(found)}" in arrays:
        found.append(arrays[f"{name}_{len(found)}"])
    return found
