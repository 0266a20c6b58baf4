"""Crafting: against a second implementation, ε to the bit, restarts, ensembles, resumption."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from data_sets import SHAPE, loss, make_network

from tfpoison import objectives, recipes
from tfpoison.data import ShiftAndFlip
from tfpoison.recipes.crafting import Crafter, Task
from tfpoison.recipes.crafting_state import State
from tfpoison.recipes.recipe import Crafted

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (7, *SHAPE), dtype=np.uint8)
LABELS = np.array([1, 1, 2, 1, 0, 1, 1])
TARGETS = rng.integers(0, 256, (2, *SHAPE), dtype=np.uint8)
TARGET_LABELS = np.array([1, 1])
SETTINGS = Crafted(
    objective=objectives.get("gradient_matching"),
    epsilon=20 / 255,
    steps=8,
    restarts=1,
    step_size=0.02,
    augmentation="none",
)


def brew(
    settings=SETTINGS, networks=None, *, seed=0, make=Crafter, retrain=None, rates=None, **more
):
    crafter = make(settings, networks or [make_network()], loss(), learning_rates=rates)
    task = Task(IMAGES, LABELS, TARGETS, TARGET_LABELS, seed, retrain)
    changes, history = crafter.craft(task, **more)
    return task.changed(changes), history


def change(**changes):
    return dataclasses.replace(SETTINGS, **changes)


SHIFT = ShiftAndFlip(shift=1)


@dataclasses.dataclass(frozen=True)
class Shifted(Crafted):
    """Augments images of few pixels."""

    augment: ShiftAndFlip = dataclasses.field(default=SHIFT)

    def make_augmentation(self):
        return self.augment


def shifted(augment=SHIFT, **changes):
    return Shifted(**SETTINGS.values() | {"augment": augment} | changes)


def matching_loss(networks, images):
    """1 - cos of the training gradients, written out anew."""
    values = []
    for network in networks:
        gradients = []
        for batch, labels in (
            (images, LABELS),
            (tf.constant(TARGETS, tf.float32) / 255, TARGET_LABELS),
        ):
            with tf.GradientTape() as tape:
                value = loss()(labels, network(batch, training=False))
            parts = tape.gradient(value, network.trainable_variables)
            gradients.append(tf.concat([tf.reshape(part, [-1]) for part in parts], 0))
        cosine = tf.reduce_sum(gradients[0] * gradients[1])
        values.append(1 - cosine / (tf.norm(gradients[0]) * tf.norm(gradients[1])))
    return tf.add_n(values) / len(values)


@pytest.mark.parametrize("count", [1, 2])
def test_against_a_second_implementation(count):
    """PGD from zero: the sign steps of ε/2, a tenth of it from steps 3, 5 and 7 on, written out."""
    networks = [make_network(number) for number in range(count)]
    settings = change(optimizer="pgd", step_size=0.5, initializer="zero")
    poisoned, (value,) = brew(settings, networks)
    epsilon, clean, delta = 20 / 255, IMAGES / 255, np.zeros(IMAGES.shape)
    for step in range(8):
        images = tf.constant(clean + delta, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(images)
            objective = matching_loss(networks, images)
        rate = 0.5 * epsilon * 0.1 ** sum(step >= each for each in (3, 5, 7))
        delta = delta - rate * np.sign(tape.gradient(objective, images).numpy())
        delta = np.clip(np.clip(delta, -epsilon, epsilon), -clean, 1 - clean)
    np.testing.assert_allclose(poisoned, 255 * (clean + delta), atol=0.51)
    expected = matching_loss(networks, tf.constant(clean + delta, tf.float32))
    np.testing.assert_allclose(value, expected, atol=1e-5)
    assert value < 0.8 * matching_loss(networks, tf.constant(clean, tf.float32))


def test_differences_of_first_derivatives_brew_as_well():
    """Poisons of the fast objective match, by the second implementation, as the exact one's do."""
    networks = [make_network()]
    exact, fast = (
        matching_loss(networks, tf.constant(poisons, tf.float32) / 255)
        for name in ("gradient_matching", "gradient_matching_fast")
        for poisons, _ in [
            brew(change(objective=objectives.get(name), steps=40, step_size=None), networks)
        ]
    )
    assert fast < 1.05 * exact


@pytest.mark.parametrize("epsilon", [0.0, 1 / 255, 16 / 255, 0.1, 0.5])
def test_epsilon_is_held_exactly(epsilon):
    poisoned, _ = brew(change(epsilon=epsilon, step_size=0.5))
    change_of_pixels = np.abs(poisoned.astype(int) - IMAGES)
    assert change_of_pixels.max() <= epsilon * 255 + 1e-9
    if epsilon:
        assert change_of_pixels.max() == int(epsilon * 255 + 1e-9)


def test_rates_and_retrainings():
    settings = Crafted(steps=250, retrainings=4)
    rates = [settings.rate(step) for step in range(250)]
    expected = [1.0] * 93 + [0.1] * 63 + [0.01] * 62 + [0.001] * 32
    np.testing.assert_allclose(rates, expected)
    assert [step for step in range(250) if settings.retrains_at(step)] == [50, 100, 150, 200]


@pytest.mark.parametrize(
    "rates", [[1], [1, 0.1], [1, 0.1, 0.01], [1, 0.1, 0.01, 0.001], [1, 0.1, 0.1, 0.01, 0.001]]
)
def test_few_steps_move_the_poisons(rates):
    settings = change(steps=len(rates), initializer="zero")
    np.testing.assert_allclose([settings.rate(step) for step in range(len(rates))], rates)
    # A step of .02 is 5 grey levels.
    assert np.abs(brew(settings)[0].astype(int) - IMAGES).max() >= 4


def test_the_best_restart_is_kept():
    settings = change(restarts=3, steps=2)
    networks = [make_network()]
    poisoned, history = brew(settings, networks)
    assert len(set(history)) == 3
    value = matching_loss(networks, tf.constant(poisoned / 255, tf.float32))
    # Rounding to grey levels moves the value a little.
    np.testing.assert_allclose(value, min(history), atol=0.02)


class BrokenBrewer(Crafter):
    """Ends some restarts with NaN, or another number."""

    broken = frozenset()
    worst = float("nan")

    def _mean_value(self, state, *arguments):
        value = super()._mean_value(state, *arguments)
        return self.worst if state.restart in self.broken else value


@pytest.mark.parametrize("broken", [{0}, {1}, {0, 2}])
def test_restarts_that_end_in_nan_are_passed_over(broken, monkeypatch):
    settings, changes = change(restarts=3, steps=2), []
    monkeypatch.setattr(BrokenBrewer, "broken", broken)

    class Recorder(BrokenBrewer):
        def _mean_value(self, state, *arguments):
            changes.append(self._to_grey_levels(state.deltas))
            return super()._mean_value(state, *arguments)

    best, history = brew(settings, make=Recorder)
    assert [number for number, value in enumerate(history) if np.isnan(value)] == sorted(broken)
    expected = np.clip(IMAGES + changes[int(np.nanargmin(history))], 0, 255)
    np.testing.assert_array_equal(best, expected)


@pytest.mark.parametrize("worst", [float("nan"), float("inf"), float("-inf")])
def test_nothing_but_nan(worst, monkeypatch, tmp_path):
    monkeypatch.setattr(BrokenBrewer, "broken", {0, 1})
    monkeypatch.setattr(BrokenBrewer, "worst", worst)
    settings, state = change(restarts=2, steps=1), tmp_path / "state.npz"
    with pytest.raises(ValueError, match=r"NaN from all 2.*learning rate"):
        brew(settings, make=BrokenBrewer, state_file=state, seconds=0)
    assert not state.exists()


def test_the_same_seed_gives_the_same_bits():
    settings = shifted()
    first, again, other = brew(settings)[0], brew(settings)[0], brew(settings, seed=1)[0]
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_large_sets_are_crafted_in_parts():
    parts, _ = brew(change(batch_size=4, initializer="zero"))
    crafter = Crafter(change(initializer="zero"), [make_network()], loss())
    task = Task(IMAGES[:4], LABELS[:4], TARGETS, TARGET_LABELS, seed=0)
    np.testing.assert_array_equal(parts[:4], task.changed(crafter.craft(task)[0]))
    assert len(parts) == 7


def test_augmentation_changes_what_is_crafted():
    plain, _ = brew(change(initializer="zero"))
    augmented, _ = brew(shifted(ShiftAndFlip(shift=2), initializer="zero"))
    assert (plain != augmented).any()


def test_an_adversary_who_knows_of_a_transform_crafts_through_it():
    """Half of each image alone is left by it: no gradient reaches the other half."""
    half = np.zeros(SHAPE, np.float32)
    half[: SHAPE[0] // 2] = 1
    crafter = Crafter(
        shifted(ShiftAndFlip(shift=0), initializer="zero"),
        [make_network()],
        loss(),
        transform=lambda images: images * half,
    )
    task = Task(IMAGES, LABELS, TARGETS, TARGET_LABELS, seed=0)
    changes, (value,) = crafter.craft(task)
    poisoned = task.changed(changes)
    changed = (poisoned != IMAGES).mean(axis=0)
    assert changed[half == 1].min() > 0 == changed[half == 0].max()
    expected = matching_loss(crafter.surrogates, tf.constant(poisoned / 255 * half, tf.float32))
    np.testing.assert_allclose(value, expected, rtol=1e-2)


def test_every_step_augments_anew():
    keys = []

    class Recorded(ShiftAndFlip):
        def draw(self, key, count):
            tf.numpy_function(lambda each: keys.append(tuple(each)), [key], [])
            return super().draw(key, count)

    brew(shifted(Recorded(shift=1), steps=3, restarts=2, batch_size=4))
    assert len(keys) == 3 * 2 * 2
    assert len(set(keys)) == len(keys)


def test_the_target_loss_matters():
    plain, _ = brew()
    other, _ = brew(change(target_loss="carlini_wagner"))
    assert (plain != other).any()


def test_training_steps_are_unrolled_at_the_rate_of_each_surrogate():
    networks, rates = [make_network(number) for number in range(2)], [0.5, 0.01]
    settings = change(objective=objectives.get("metapoison", unrolled_steps=1), steps=3)
    poisoned, (value,) = brew(settings, networks, rates=rates)
    losses = []
    for network, rate in zip(networks, rates, strict=True):
        before = network.get_weights()
        network.compile(keras.optimizers.SGD(rate), loss())
        with tf.GradientTape() as tape:
            training_loss = loss()(LABELS, network(poisoned / 255, training=False))
        weights = network.trainable_variables
        network.optimizer.apply(tape.gradient(training_loss, weights), weights)
        losses.append(float(loss()(TARGET_LABELS, network(TARGETS / 255, training=False))))
        network.set_weights(before)
    # Rounding to grey levels moves the value a little.
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-3)
    assert abs(losses[0] - losses[1]) > 0.01


class InterruptionError(Exception):
    pass


class DyingBrewer(Crafter):
    """Dies after so many steps, with the state saved at every step."""

    left = 0

    def _step_all(self, *arguments):
        if DyingBrewer.left == 0:
            raise InterruptionError
        DyingBrewer.left -= 1
        super()._step_all(*arguments)


def retrain(number, poisoned):
    return [make_network(100 + number + int(poisoned.sum()) % 50)]


@functools.cache
def whole_brewing(settings):
    return brew(settings, retrain=retrain)


@pytest.mark.parametrize("steps", [1, 8, 13])
@pytest.mark.parametrize("retrainings", [0, 2])
def test_an_interrupted_brewing_ends_as_one_that_was_not(steps, retrainings, tmp_path):
    settings = shifted(restarts=2, retrainings=retrainings)
    whole, history = whole_brewing(settings)
    DyingBrewer.left = steps
    saved = {"state_file": tmp_path / "state.npz", "seconds": 0, "retrain": retrain}
    with pytest.raises(InterruptionError):
        brew(settings, make=DyingBrewer, **saved)
    assert saved["state_file"].exists()
    resumed, resumed_history = brew(settings, **saved)
    np.testing.assert_array_equal(resumed, whole)
    assert resumed_history == history
    # Whoever keeps the poisons removes it, once they are on disk.
    assert list(tmp_path.iterdir()) == [saved["state_file"]]


def test_a_state_with_a_restart_that_ended_in_nan(tmp_path):
    state = State(restart=2, history=[float("nan"), 0.5], best=[IMAGES[:1]])
    state.save(tmp_path / "state.npz")
    loaded = State.load(tmp_path / "state.npz")
    np.testing.assert_equal(dataclasses.asdict(loaded), dataclasses.asdict(state))


@pytest.mark.parametrize("content", [b"PK\x03\x04 damaged", b""])
def test_a_damaged_state_is_named(tmp_path, content):
    state = tmp_path / "state.npz"
    state.write_bytes(content)
    with pytest.raises(ValueError, match=r"state.npz as it was written.*Remove it: the brewing"):
        brew(state_file=state)


def test_surrogates_are_left_as_they_were():
    network = make_network()
    before = network.get_weights()
    brew(change(retrainings=3), [network], retrain=retrain)
    for ours, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, expected)


OPTIMISED = [name for name in recipes.names() if recipes.get(name).objective is not None]


@pytest.mark.parametrize("name", OPTIMISED)
def test_every_recipe_that_optimises_lowers_its_objective(name):
    settings = change(objective=recipes.get(name).objective, steps=1, epsilon=0.2)
    _, (start,) = brew(settings)
    _, (end,) = brew(dataclasses.replace(settings, steps=30))
    assert end < start


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"restarts": 0}, "at least 1"),
        ({"epsilon": 1.1}, "at most 1"),
        ({"epsilon": -0.1}, "at least 0"),
        ({"optimizer": "adamw"}, "sign_adam"),
        ({"initializer": "ones"}, "zero"),
        ({"step_size": 0.0}, "above 0"),
        ({"batch_size": 0}, "at least 1"),
        ({"retrainings": 8}, "fewer retrainings than steps"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message):
        change(**changes)


def test_more_refusals():
    with pytest.raises(ValueError, match="at least one surrogate"):
        Crafter(SETTINGS, [], loss())
    with pytest.raises(ValueError, match="2 for 1 surrogate"):
        brew(rates=[0.1, 0.01])
    with pytest.raises(ValueError, match="train surrogates anew"):
        brew(change(retrainings=1))
