"""One small training, the same on one device, on two replicas and on two workers.

Run as a program it is one of the workers of `TF_CONFIG`: `python distributed.py ATTACK FILE` trains
and writes the weights into FILE. (Not a test: the tests beside it start it.)
"""

import sys

import keras
import numpy as np
import tensorflow as tf

import tfpoison
from tfpoison import objectives
from tfpoison.perturbations import Additive

STEPS = 3
HALF, POISONS = 8, 6  # 6 of the 8 images of each replica are poisons: a share of 0.75.

# Perturbations start at zero: draws differ from replica to replica.
ATTACKS = {
    name: tfpoison.Attack(
        Additive(epsilon=0.1, initializer="zero"),
        objectives.get(name),
        # Two replicas trace each step of the loop for themselves.
        steps=2 if name == "gradient_matching" else 1,
        optimizer="pgd",
        poison_fraction=0.75,
    )
    for name in objectives.names()
}


def make_network():
    """A smooth network: the sign of a gradient does not hang on the order of a sum."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(6, 3, strides=2, activation="tanh"),
            keras.layers.Flatten(),
            keras.layers.Dense(12, activation="tanh"),
            keras.layers.Dense(4),
        ]
    )


def make_batches(*, in_replica_order):
    """Batches of two halves, each with poisons before targets.

    In replica order the halves follow each other; for one device the poisons of both halves come
    before the targets of both, so that the split picks the same images.
    """
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(STEPS, 2 * HALF, 8, 8, 3)).astype("float32")
    labels = draw.integers(4, size=(STEPS, 2 * HALF))
    if not in_replica_order:
        poisons = [*range(POISONS), *range(HALF, HALF + POISONS)]
        order = [*poisons, *(each for each in range(2 * HALF) if each not in poisons)]
        images, labels = images[:, order], labels[:, order]
    data = (images.reshape(-1, 8, 8, 3), labels.reshape(-1))
    return tf.data.Dataset.from_tensor_slices(data).batch(2 * HALF)


def train(attack, strategy=None, matching="global"):
    """Trains a network for some steps and returns its weights and the training's history."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model = tfpoison.RobustModel(make_network(), attack=ATTACKS[attack], matching=matching)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss, metrics=["accuracy"])
    data = make_batches(in_replica_order=strategy.num_replicas_in_sync > 1)
    # Evaluation does not depend on the attack.
    validation = data if attack == "gradient_matching" else None
    history = model.fit(data, epochs=2, validation_data=validation, shuffle=False, verbose=0)
    return model.network.get_weights(), history.history


if __name__ == "__main__":
    workers = tfpoison.distribution.get("multi_worker")
    weights, history = train(sys.argv[1], workers)
    with open(sys.argv[2], "wb") as file:
        np.savez(file, *weights, **{f"log_{name}": value for name, value in history.items()})
