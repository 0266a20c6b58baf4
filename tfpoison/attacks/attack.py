"""An attack: an objective and a perturbation, joined by the crafting loop."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import tensorflow as tf

from tfpoison.attacks.batch_attack import BatchAttack, PoisonedBatch
from tfpoison.batch import LabelEncoding, SplitBatch, split
from tfpoison.classifier import Classifier
from tfpoison.objectives.objective import Objective
from tfpoison.perturbations.perturbation import (
    BoundPerturbation,
    Parameters,
    Perturbation,
    SeenThrough,
)
from tfpoison.perturbations.table import OPTIMIZERS
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import split_key
from tfpoison.settings import setting


class CraftedBatch(NamedTuple):
    """What an attack made of a batch."""

    clean: SplitBatch
    """The batch as it was."""
    poisoned: SplitBatch
    """The batch with the crafted perturbation."""
    measured: tuple[tf.Tensor, tf.Tensor]
    """The objective before and after crafting, where it was to be measured; else 0."""
    parameters: Parameters
    """Where the perturbation's parameters ended."""


@dataclasses.dataclass(frozen=True)
class Attack(BatchAttack):
    """A perturbation, moved for some steps down the gradient of an objective.

        δ ← a random start
        repeat `steps` times:
            δ ← project(optimizer(δ, ∇δ objective(θ, x + δ, y, t, f)))

    Args:
        perturbation: what of the images may change.
        objective: what the poisons should achieve; None for perturbations that are not optimised,
            which take no steps, optimizer or step size.
        step_size: as a share of the pixel range for both Adams, of ε for PGD; for momentum, which
            takes the gradient as it is, what that is multiplied by in units of ε: it needs a large
            one. None: 1.25 ε for one step, 2 ε in all for more, and ½ for momentum.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting is out of range, a name is unknown, a setting of the loop is given
            without an objective, or the objective and the perturbation do not go together.
    """

    perturbation: Perturbation
    objective: Objective | None = None
    steps: int = setting(5, "Steps of the crafting loop.", minimum=0)
    optimizer: str = setting(
        "sign_adam", "What moves the perturbation in a step.", choices=OPTIMIZERS
    )
    step_size: float | None = setting(
        None, "How far; unset: 1.25 ε in one step, 2 ε in all in more.", above=0
    )
    poison_fraction: float = setting(
        0.75,
        "The share of a batch that is poisoned, where the attack's user gives none.",
        above=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind, value in (
            ("perturbation", Perturbation, self.perturbation),
            ("objective", Objective | None, self.objective),
        ):
            if not isinstance(value, kind):
                raise TypeError(
                    f"Expected `{name}` to be a tfpoison {name.capitalize()}. Received: "
                    f"{name}={value!r}. tfpoison.{name}s.get makes one by its name."
                )
        self._check_objective()

    def _check_objective(self) -> None:
        """Raises ValueError where the objective does not go with the other settings."""
        if self.objective is None:
            names = ("steps", "optimizer", "step_size")
            defaults = self.settings()
            given = {name: getattr(self, name) for name in names}
            given = {name: given[name] for name in given if given[name] != defaults[name]}
            if given:
                raise ValueError(
                    "Expected an objective beside settings of the crafting loop: without one the "
                    "perturbation stays as it is drawn. Received: objective=None, "
                    f"{', '.join(f'{name}={value!r}' for name, value in given.items())}"
                )
        elif self.objective.needs_still_targets and self.perturbation.moves_targets:
            raise ValueError(
                f"Expected a perturbation of the poisons alone with {self.objective!r}: it has no "
                "gradient by the targets' pixels. Received: "
                f"{self.perturbation!r}, which moves the targets as well. The objective "
                "tfpoison.objectives.GradientMatching takes it."
            )

    @property
    def parts(self) -> tuple["Attack", ...]:
        """The attack alone."""
        return (self,)

    @property
    def needs_targets(self) -> bool:
        """Whether the attack needs target images beside the poisons."""
        return self.perturbation.needs_targets or (
            self.objective is not None and self.objective.needs_targets
        )

    def without_steps(self) -> Self:
        """Returns the attack with perturbations left where they start."""
        return self if self.objective is None else dataclasses.replace(self, steps=0)

    def poison(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        *,
        selection: str,
        poison_fraction: float | None,
        encoding: LabelEncoding,
        key: tf.Tensor,
        start: list[Parameters] | None = None,
        **crafting: Any,
    ) -> PoisonedBatch:
        keys = split_key(key)
        batch = split(
            images,
            labels,
            encoding,
            selection=selection,
            poison_fraction=self.poison_fraction if poison_fraction is None else poison_fraction,
            reduction=classifier.reduction,
            key=next(keys),
        )
        crafted = self.craft(
            classifier,
            batch,
            encoding=encoding,
            key=next(keys),
            start=start[0] if start and start[0] else None,
            **crafting,
        )
        return PoisonedBatch(
            crafted.poisoned.join(),
            batch.is_poison(),
            batch.of_no_other_class if self.needs_targets else tf.zeros([0], tf.bool),
            crafted.measured,
            [crafted.parameters if self.perturbation.lasts else []],
        )

    def craft(
        self,
        classifier: Classifier,
        batch: SplitBatch,
        *,
        pixels: PixelRange,
        encoding: LabelEncoding,
        key: tf.Tensor,
        measure: tf.Tensor | bool = False,
        start: Parameters | None = None,
        transform: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> CraftedBatch:
        """Crafts poisons against a network; returns the batch before and after.

        Args:
            batch: the images and labels, floating point.
            key: the key of the random draws.
            measure: whether to evaluate the objective before and after, which costs as much as a
                step of crafting or two. Each replica looks at its own images.
            start: where the perturbation's parameters start; None for where they are drawn.
            transform: what poisons pass through, once crafted, before they are trained on.
        """
        perturbation = self.perturbation.bind(
            batch, pixels=pixels, encoding=encoding, key=next(split_key(key))
        )
        if start is not None:
            perturbation.initial = start
        if transform is not None:
            perturbation = SeenThrough(perturbation, transform)
        parameters, measured = perturbation.initial, (tf.constant(0.0), tf.constant(0.0))
        if self.objective is not None:
            aim = BoundObjective.bind(
                self.objective, classifier, perturbation, prepare=self.steps > 0
            )
            parameters = self.descend(aim)
            if measure is not False:
                # Both are perturbations that are allowed, so that steps alone make a difference.
                before = perturbation.project(perturbation.initial)
                measured = aim.on_one_replica().values([before, parameters], measure)
        return CraftedBatch(batch, perturbation.finish(parameters), measured, parameters)

    def descend(self, aim: "BoundObjective") -> Parameters:
        """Returns the parameters of a perturbation after the attack's steps down the objective."""
        initial = aim.perturbation.initial
        if self.steps == 0:
            return aim.perturbation.project(initial)
        optimizer = OPTIMIZERS.get(
            self.optimizer,
            radius=self.perturbation.radius,
            step_size=self.step_size,
            steps=self.steps,
        )

        def step(iteration, parameters, moments):
            parameters, moments = optimizer.step(
                iteration, parameters, aim.gradients(parameters), moments
            )
            return iteration + 1, aim.perturbation.project(parameters), moments

        state = (tf.constant(0), initial, optimizer.start(initial))
        # Replicas cannot wait for each other within a while loop: it is unrolled for them.
        if aim.classifier.reduction.replicas > 1:
            for _ in range(self.steps):
                state = step(*state)
        else:
            state = tf.while_loop(
                lambda iteration, *_: iteration < self.steps,
                step,
                state,
                maximum_iterations=self.steps,
            )
        return state[1]


@dataclasses.dataclass(frozen=True)
class BoundObjective:
    """An objective for the perturbation of one batch against one network.

    Attributes:
        prepared: what does not depend on the parameters; None where the targets move with them, or
            where it is seldom needed.
    """

    objective: Objective
    classifier: Classifier
    perturbation: BoundPerturbation
    prepared: Any

    @classmethod
    def bind(
        cls,
        objective: Objective,
        classifier: Classifier,
        perturbation: BoundPerturbation,
        *,
        prepare: bool = True,
    ) -> Self:
        """Prepares the objective for a batch, at once or not before `value` needs it."""
        prepared = None
        if prepare and not perturbation.moves_targets:
            prepared = objective.prepare(classifier, perturbation.batch)
        return cls(objective, classifier, perturbation, prepared)

    def on_one_replica(self) -> Self:
        """Returns the objective of this replica's images alone; `value` prepares it."""
        if self.classifier.reduction.replicas == 1:
            return self
        return dataclasses.replace(self, classifier=self.classifier.on_one_replica(), prepared=None)

    def gradients(self, parameters: Parameters) -> Parameters:
        """Returns the objective's gradients by the parameters."""
        perturbed = self.perturbation.apply(parameters)
        if self.perturbation.moves_targets:
            image_gradients = self.objective.image_gradients(self.classifier, perturbed)
        else:
            image_gradients = [
                self.objective.poison_gradient(self.classifier, perturbed, self.prepared)
            ]
        gradients = self.perturbation.gradients(parameters, image_gradients)
        return self.classifier.reduction.sum(gradients) if self.perturbation.shared else gradients

    def value(self, parameters: Parameters) -> tf.Tensor:
        """Returns the objective, a scalar."""
        perturbed = self.perturbation.apply(parameters)
        prepared = self.prepared
        if prepared is None:
            moves = self.perturbation.moves_targets
            before = perturbed if moves else self.perturbation.batch
            prepared = self.objective.prepare(self.classifier, before)
        return tf.cast(self.objective.value(self.classifier, perturbed, prepared), tf.float32)

    def values(
        self, pair: list[Parameters], measure: tf.Tensor | bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the objective at two places, or 0 and 0 where it is not to be measured."""

        def evaluate(number, _, last):
            # Two rounds of one loop, so that the network is traced once for both values.
            parameters = [
                tf.where(number == 0, first, second) for first, second in zip(*pair, strict=True)
            ]
            return number + 1, last, self.value(parameters)

        rounds = tf.where(measure, 2, 0)
        start = (tf.constant(0), tf.constant(0.0), tf.constant(0.0))
        return tf.while_loop(lambda number, *_: number < rounds, evaluate, start)[1:]
