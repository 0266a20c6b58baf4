"""Friendly noise: the most that an image may change while the network's answer stays."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfpoison.classifier import Classifier, differentiate
from tfpoison.defenses.revisions.base import Revised, Revision
from tfpoison.randomness import Purpose
from tfpoison.settings import setting

_BATCH = 128


@dataclasses.dataclass(frozen=True)
class FriendlyNoise(Revision):
    """Adds to every training image noise that the network does not mind (arXiv 2208.10224).

    Once, early in training, for every image x on its own,

        e ~ U(-ε/2, ε/2)
        repeat `steps` times: a step of SGD with Nesterov momentum on
            KL(network(x) ‖ network(x′)) - size_weight · mean(e′²)
            where e′ = clip(e, -ε, ε), x′ = clip(x + e′, 0, 1)
        x ← x′

    and training goes on on the images so changed. It is the first half of the defense; the second
    is fresh random noise in every batch (ε = 16/255 as well), which is one of the attacks
    `noise_uniform`, `noise_normal`, `noise_bernoulli` within the training step.

    Formula and settings are those of the authors' code (tianyu139/friendly-noise), whose schedule
    of the learning rate is made but never used. The paper writes ‖e‖₂ where the code has the mean
    of e′², as here. The noise starts large and the divergence shapes it; its size counts for more
    in small images than in large ones. Their step of 100 on the mean over 128 images is one of
    100/128 on each image's own objective, which makes the noise independent of the batch.

    Images are 8-bit images again afterwards: the noise is rounded to whole levels, by half a level
    (1/510) at most, and never beyond ε (the paper's ζ).

    Where answers are very sensitive to single pixels, as in images of 8×8, smaller steps (0.1)
    leave noise that the network minds less.
    """

    epsilon: float = setting(
        16 / 255,
        "The bound of the noise, as a share of the pixel range.",
        minimum=1 / 255,
        maximum=1,
    )
    size_weight: float = setting(
        1.0, "How much the noise's size counts against the divergence.", minimum=0
    )
    steps: int = setting(30, "Steps of SGD.", minimum=1)
    step_size: float = setting(100 / 128, "The learning rate of SGD.", above=0)
    momentum: float = setting(0.9, "Nesterov's momentum.", minimum=0, maximum=1)
    epoch: int | None = setting(
        None, "Epochs before the noise is made; unset for an eighth of all.", minimum=1
    )

    def _epochs(self, total: int) -> range:
        epoch = self.epoch or max(1, total // 8)
        return range(epoch, epoch + 1)

    def _revise(
        self, network: keras.Model, images: np.ndarray, labels: np.ndarray, seed: int
    ) -> Revised:
        craft = tf.function(
            lambda batch, key: self.craft(Classifier(network), batch, key),
            [tf.TensorSpec([None, *images.shape[1:]]), tf.TensorSpec([2], tf.int32)],
            autograph=False,
        )
        revised = np.empty_like(images)
        for number, first in enumerate(range(0, len(images), _BATCH)):
            batch = images[first : first + _BATCH]
            key = Purpose.FRIENDLY_NOISE.key(seed, number)
            noise = craft(np.float32(batch) / np.float32(255), key)
            revised[first : first + _BATCH] = self._add(batch, noise.numpy())
        return Revised(np.ones(len(images), bool), revised)

    def craft(self, classifier: Classifier, images: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Returns the friendly noise of a batch, within ±ε, float32 (n, H, W, C)."""
        answers = tf.nn.log_softmax(classifier.predictions(images))

        def step(noise: tf.Tensor, velocity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(noise)
                objectives = self.objectives(classifier, images, answers, noise)
            (gradient,) = differentiate(tape, objectives, [noise])
            velocity = self.momentum * velocity + gradient
            return noise - self.step_size * (gradient + self.momentum * velocity), velocity

        start = tf.random.stateless_uniform(
            tf.shape(images), key, -self.epsilon / 2, self.epsilon / 2
        )
        noise, _ = tf.while_loop(
            lambda *_: True, step, (start, tf.zeros_like(start)), maximum_iterations=self.steps
        )
        return self._bound(noise)

    def objectives(
        self, classifier: Classifier, images: tf.Tensor, answers: tf.Tensor, noise: tf.Tensor
    ) -> tf.Tensor:
        """Returns what each image's noise minimises, (n,).

        Args:
            images: float32 in [0, 1], (n, H, W, C).
            answers: the logarithms of the probabilities of the images themselves, (n, classes).
            noise: noise of any size, (n, H, W, C).
        """
        noise = self._bound(noise)
        noisy = classifier.predictions(tf.clip_by_value(images + noise, 0, 1))
        divergences = tf.reduce_sum(tf.exp(answers) * (answers - tf.nn.log_softmax(noisy)), axis=1)
        sizes = tf.reduce_mean(noise**2, axis=[1, 2, 3])
        return divergences - self.size_weight * sizes

    def _bound(self, noise: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(noise, -self.epsilon, self.epsilon)

    def _add(self, images: np.ndarray, noise: np.ndarray) -> np.ndarray:
        # The small number guards against 255 · (16 / 255) being less than 16.
        most = int(255 * self.epsilon + 1e-6)
        levels = np.clip(np.rint(255 * noise), -most, most)
        return np.clip(images + levels, 0, 255).astype(np.uint8)
