"""The optimizers of perturbations.

Keras's optimizers move variables; these are pure functions of tensors, so that they run inside
`tf.while_loop` with their moments as loop variables.
"""

import abc
from typing import ClassVar

import tensorflow as tf

Tensors = list[tf.Tensor]

_DECAY_OF_MEAN, _DECAY_OF_SQUARE, _ADAM_EPSILON = 0.9, 0.999, 1e-8
_MOMENTUM = 0.9
# τ = 0.1 of a normalised pixel, of arXiv 2102.13624.
_PAPERS_STEP = 0.025


def share_of_radius(steps: int) -> float:
    """Returns how far each of a few steps goes, as a share of ε: together they cross the ε-ball.

    One step goes 1.25 ε from a random start (arXiv 2001.03994, section 4.1); several go 2 ε in all,
    as the paper's five of τ = 0.025 do at ε = 16/255.
    """
    return min(1.25, 2 / steps)


class PerturbationOptimizer(abc.ABC):
    """A rule that moves a perturbation down its gradient.

    Args:
        radius: ε, as a share of the pixel range.
        step_size: how far, as a share of the pixel range (`sign_adam`, `adam`) or of ε (`pgd`). For
            `momentum` what the gradient is multiplied by, in units of ε. None: what
            `default_step_size` returns.
        steps: how many steps will be taken, for the default; None for a great many.
    """

    moments: ClassVar[int] = 0
    """How many tensors of the parameters' shapes the rule remembers."""

    def __init__(self, radius: float, step_size: float | None = None, steps: int | None = None):
        self.radius = radius
        self.step_size = self.default_step_size(steps) if step_size is None else step_size

    def default_step_size(self, steps: int | None) -> float:
        """Returns the step size for that number of steps, in the rule's own unit."""
        return 0.5 if steps is None else share_of_radius(steps)

    def start(self, parameters: Tensors) -> list[Tensors]:
        """Returns the moments before the first step."""
        return [[tf.zeros_like(each) for each in parameters] for _ in range(self.moments)]

    @abc.abstractmethod
    def step(
        self, iteration: tf.Tensor, parameters: Tensors, gradients: Tensors, moments: list[Tensors]
    ) -> tuple[Tensors, list[Tensors]]:
        """Returns the parameters and the moments after a step; iterations count from 0."""


class Adam(PerturbationOptimizer):
    """Adam (arXiv 1412.6980, algorithm 1) on the gradient."""

    moments = 2

    def default_step_size(self, steps: int | None) -> float:
        """Returns shares of ε for a few steps; the paper's step for many, shorter for small ε."""
        few = share_of_radius(steps or 5) * self.radius
        return few if steps else min(_PAPERS_STEP, few)

    def step(self, iteration, parameters, gradients, moments):
        count = tf.cast(iteration + 1, gradients[0].dtype)
        means, squares = moments
        means = [
            _DECAY_OF_MEAN * mean + (1 - _DECAY_OF_MEAN) * gradient
            for mean, gradient in zip(means, gradients, strict=True)
        ]
        squares = [
            _DECAY_OF_SQUARE * square + (1 - _DECAY_OF_SQUARE) * gradient**2
            for square, gradient in zip(squares, gradients, strict=True)
        ]
        rate = self.step_size / (1 - _DECAY_OF_MEAN**count)
        correction = tf.sqrt(1 - _DECAY_OF_SQUARE**count)
        parameters = [
            value - rate * mean / (tf.sqrt(square) / correction + _ADAM_EPSILON)
            for value, mean, square in zip(parameters, means, squares, strict=True)
        ]
        return parameters, [means, squares]


class SignAdam(Adam):
    """Adam on the gradient's sign (arXiv 2009.02276, section 4)."""

    def step(self, iteration, parameters, gradients, moments):
        signs = [tf.sign(gradient) for gradient in gradients]
        return super().step(iteration, parameters, signs, moments)


class ProjectedGradientDescent(PerturbationOptimizer):
    """Steps along the gradient's sign (arXiv 1706.06083, equation 3)."""

    def step(self, iteration, parameters, gradients, moments):
        rate = self.step_size * self.radius
        return [
            value - rate * tf.sign(gradient)
            for value, gradient in zip(parameters, gradients, strict=True)
        ], moments


class Momentum(PerturbationOptimizer):
    """Heavy-ball momentum (Polyak 1964) on the gradient as it is, as in arXiv 2102.13624's code.

        v ← 0.9 v + ∇δ objective;    δ ← δ - step_size · ε · v

    The gradient is not scaled, and how far a step goes depends on its size, which for a pixel is
    often 1e-3 or less: with the default step size the perturbation hardly moves. Choose one for the
    objective at hand, in the hundreds or thousands; the other optimizers need none.
    """

    moments = 1

    def default_step_size(self, steps: int | None) -> float:
        """Returns ½, whatever the number of steps: gradients say how far each of them goes."""
        return 0.5

    def step(self, iteration, parameters, gradients, moments):
        rate = self.step_size * self.radius
        velocities = [
            _MOMENTUM * velocity + gradient
            for velocity, gradient in zip(moments[0], gradients, strict=True)
        ]
        return [
            value - rate * velocity for value, velocity in zip(parameters, velocities, strict=True)
        ], [velocities]
