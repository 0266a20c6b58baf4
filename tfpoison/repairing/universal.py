"""Universal perturbations toward each class, found and unlearned in turn."""

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from tfpoison import attacks
from tfpoison.batch import SplitBatch
from tfpoison.data import AUGMENTATIONS
from tfpoison.randomness import Purpose
from tfpoison.repairing.base import FineTuning, Repair
from tfpoison.repairing.subject import Subject, batches
from tfpoison.settings import setting

# Images that perturbations are crafted on in a step, of all classes together.
_CRAFTED_ON = 512
# Of ε, in one round after the other: triggers are faint or strong.
_SIZES = (1 / 8, 1 / 4, 1 / 2, 1)


@dataclasses.dataclass(frozen=True)
class UnlearnUniversal(Repair):
    """Universal perturbations, unlearned.

    in each round, r = ε/8, ε/4, ε/2, ε in turn:
        δ_c ← for each class c: steps along the sign of ∇δ L(x + δ, c) over images x of other
              classes, |δ|∞ ≤ r
        for each of some batches, augmented: `share` of its images carry a δ of a class drawn for
            each; the network is trained toward its own former answers to the batch without any

    A trigger is a shortcut to a class, and so is a universal perturbation: without any trigger
    known, both go. The former answers, in place of the labels, keep the accuracy. With one size in
    all rounds, triggers that are fainter or stronger than it are left.

    The attack is that of universal adversarial training (arXiv 1811.11304), here toward each class
    and after the training.
    """

    epsilon: float = setting(
        128 / 255, "ε, the largest, a share of the pixel range.", above=0, maximum=1
    )
    rounds: int = setting(24, "How often perturbations are crafted and unlearned.", minimum=1)
    steps: int = setting(8, "Steps of crafting in a round.", minimum=1)
    batches: int = setting(10, "Steps of training in a round.", minimum=1)
    share: float = setting(
        0.5, "The share of a batch that carries a perturbation.", above=0, maximum=1
    )
    augmentation: str = setting(
        "none",
        "Of the clean images, of which there are few: as the network was trained, if it was.",
        choices="tfpoison.data:AUGMENTATIONS",
        expressions=True,
    )
    batch_size: int = setting(64, "Images of a step.", minimum=1)
    learning_rate: float = setting(0.005, "That of the first round; it falls to 0.", above=0)

    def repair(self, subject: Subject) -> None:
        """Crafts and unlearns, round by round."""
        generator, training = subject.generator(), FineTuning(subject)
        before, augment = subject.copy(), AUGMENTATIONS.get(self.augmentation)
        craft = [_Crafting(subject, size * self.epsilon, self.steps) for size in _SIZES]
        passes = self.rounds * self.batches
        drawn = batches(len(subject.images), self.batch_size, passes, generator)
        for number in range(self.rounds):
            perturbations = craft[number % len(craft)](number, generator)
            rate = self.learning_rate * (1 - number / self.rounds)
            for step, positions in enumerate(itertools.islice(drawn, self.batches)):
                images = subject.images[positions]
                if augment is not None:
                    key = Purpose.REPAIR.key(subject.seed, number, self.steps + step)
                    images = np.array(augment(tf.constant(images), key))
                answers = before.probabilities(images)
                some = round(self.share * len(images))
                which = generator.integers(subject.classes, size=some)
                images[:some] = subject.perturbed(images[:some], perturbations[which])
                training.step(images, answers, rate)


class _Crafting:
    """One perturbation toward each class, crafted by single steps on ever other images."""

    def __init__(self, subject: Subject, epsilon: float, steps: int):
        self._subject, self._epsilon, self._steps = subject, epsilon, steps
        self._attack = attacks.get(
            "universal", epsilon=epsilon, steps=1, optimizer="pgd", step_size=1 / 3
        )
        self._step = tf.function(self._take_step, autograph=False)

    def __call__(self, number: int, generator: np.random.Generator) -> np.ndarray:
        """Returns a round's perturbations, in shares of the pixel range, (classes, H, W, C)."""
        subject, bound = self._subject, self._epsilon / 2
        shape = [subject.classes, *subject.images.shape[1:]]
        found = tf.constant(generator.uniform(-bound, bound, shape), tf.float32)
        for step in range(self._steps):
            chosen = generator.integers(len(subject.images), size=_CRAFTED_ON)
            images, labels = subject.images[chosen], subject.labels[chosen]
            key = Purpose.REPAIR.key(subject.seed, number, step)
            found = self._step(tf.constant(images), tf.constant(labels), found, key)
        return found.numpy()

    def _take_step(
        self, images: tf.Tensor, labels: tf.Tensor, perturbations: tf.Tensor, key: tf.Tensor
    ) -> tf.Tensor:
        subject = self._subject
        # There are no targets: each image aims at a class drawn among the others.
        batch = SplitBatch(images, labels, images[:0], labels[:0], labels[:0])
        crafted = self._attack.craft(
            subject.classifier,
            batch,
            pixels=subject.pixels,
            encoding=subject.encoding,
            key=key,
            start=[perturbations],
        )
        return crafted.parameters[0]
