"""Triggers found by inversion: the least of an image that makes a network answer a class."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from tfpoison.perturbations.optimizers import Adam
from tfpoison.repairing.subject import Subject

# Of the images so many are asked in a step.
_MOST_IMAGES = 128
_STEPS = 300
_STEP_SIZE = 0.1
# The share of images that a trigger has to turn.
_SUCCESS = 0.99
# How much the mask's size weighs at first, and by what this grows and falls in a step. Source: the
# authors' code, which changes it by 1.5 and 1.5^1.5 once in five steps.
_FIRST_COST = 1e-3
_DEARER, _CHEAPER = 1.5**0.2, 1.5**-0.3


@dataclasses.dataclass(frozen=True)
class InvertedTrigger:
    """What turns other images into a class: x → (1 - mask) x + mask · pattern.

    Attributes:
        mask: how much of each pixel is replaced, in [0, 1], float32 (H, W, 1).
        pattern: what it is replaced by, in shares of the pixel range, float32 (H, W, C).
        success: the share of the images that it turns.
    """

    mask: np.ndarray
    pattern: np.ndarray
    success: float

    @property
    def size(self) -> float:
        """The L1 norm of the mask, in pixels."""
        return float(self.mask.sum())

    def put_on(self, shares: np.ndarray) -> np.ndarray:
        """Returns images, in shares of the pixel range, with the trigger on them."""
        return (1 - self.mask) * shares + self.mask * self.pattern


class Inversion:
    """Trigger inversion (neural cleanse, Wang et al. 2019, IEEE S&P, equation 3).

    min over mask, pattern of L(f((1 - mask) x + mask · pattern), class) + λ ‖mask‖₁, by Adam; λ is
    moved so that 99 % of the images are turned, and the smallest mask that turned so many is taken

    Images that the network calls the class already are left out. All classes start alike, from half
    of a grey image, and ask the same images, of which a step takes 128 at most: no draws. The mask
    has no colours.

    Args:
        subject: the network and the images.
        steps: those of the optimizer.
    """

    def __init__(self, subject: Subject, steps: int = _STEPS):
        self._subject, self._steps = subject, steps
        chosen = np.linspace(0, len(subject.images) - 1, min(_MOST_IMAGES, len(subject.images)))
        self._positions = chosen.round().astype(int)
        self._optimizer = Adam(1.0, _STEP_SIZE)
        self._find = tf.function(self._descend, autograph=False)

    def __call__(self, target: int) -> InvertedTrigger:
        """Returns the trigger of a class."""
        subject, positions = self._subject, self._positions
        others = subject.answers[positions].argmax(axis=1) != target
        if not others.any():
            shape = subject.images.shape[1:]
            nothing = np.zeros(shape, np.float32)
            return InvertedTrigger(nothing[..., :1], nothing, 1.0)
        images = tf.constant(subject.images[positions])
        labels = tf.one_hot(tf.fill([len(positions)], target), subject.classes)
        found = self._find(images, labels, tf.constant(others, tf.float32))
        mask, pattern, success = (each.numpy() for each in found)
        return InvertedTrigger(mask, pattern, float(success))

    def all(self) -> list[InvertedTrigger]:
        """Returns the triggers of all classes."""
        return [self(target) for target in range(self._subject.classes)]

    def _descend(
        self, images: tf.Tensor, labels: tf.Tensor, counted: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        shares, shape = self._subject.pixels.to_shares(images), images.shape[1:]
        parameters = [tf.zeros([*shape[:2], 1]), tf.zeros(shape)]
        look = functools.partial(self._look, shares, labels, counted)

        def step(number, parameters, moments, cost, best):
            mask, pattern, success, gradients = look(parameters, cost)
            reached = success >= _SUCCESS
            better = reached & (tf.reduce_sum(mask) < best[3])
            # Until one turns enough, the last one is the best.
            better |= ~reached & tf.math.is_inf(best[3])
            size = tf.where(reached, tf.reduce_sum(mask), np.inf)
            here = (mask, pattern, success, size)
            best = tuple(tf.where(better, new, old) for new, old in zip(here, best, strict=True))
            cost = cost * tf.where(reached, _DEARER, _CHEAPER)
            parameters, moments = self._optimizer.step(number, parameters, gradients, moments)
            return number + 1, parameters, moments, cost, best

        nothing = (*map(_squash, parameters), tf.constant(0.0), tf.constant(np.inf, tf.float32))
        start = (
            tf.constant(0),
            parameters,
            self._optimizer.start(parameters),
            tf.constant(_FIRST_COST),
            nothing,
        )
        *_, best = tf.while_loop(
            lambda number, *_: number < self._steps, step, start, parallel_iterations=1
        )
        return best[:3]

    def _look(self, shares, labels, counted, parameters, cost):
        """Returns mask, pattern, how many they turn, and the gradients by the parameters."""
        classifier, pixels = self._subject.classifier, self._subject.pixels
        is_probability = self._subject.answers_probabilities
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            mask, pattern = map(_squash, parameters)
            images = pixels.from_shares((1 - mask) * shares + mask * pattern)
            answers = classifier.predictions(images)
            losses = keras.losses.categorical_crossentropy(labels, answers, not is_probability)
            value = tf.reduce_sum(counted * losses) / tf.reduce_sum(counted)
            value += cost * tf.reduce_sum(mask)
        turned = tf.argmax(answers, 1) == tf.argmax(labels, 1)
        success = tf.reduce_sum(counted * tf.cast(turned, tf.float32)) / tf.reduce_sum(counted)
        return mask, pattern, success, tape.gradient(value, parameters)


def _squash(parameter: tf.Tensor) -> tf.Tensor:
    return (tf.tanh(parameter) + 1) / 2
