"""Attacks by name, and the crafting loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison import attacks, objectives, perturbations
from tfpoison.batch import LabelEncoding, split
from tfpoison.classifier import Classifier
from tfpoison.distribution import Reduction
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose

# The zoo as the paper and its authors' code have it: the poison fraction, and whether crafting is
# an optimisation.
ZOO = {
    "gradient_matching": (0.75, True),
    "gradient_matching_last_layer": (0.75, True),
    "gradient_matching_se": (0.75, True),
    "gradient_matching_fast": (0.75, True),
    "metapoison": (0.75, True),
    "feature_collision": (0.75, True),
    "convex_polytope": (0.75, True),
    "hidden_trigger": (0.5, True),
    "watermark": (0.75, False),
    "evasion": (1.0, True),
    "evasion_spatial": (1.0, True),
    "noise_uniform": (0.75, False),
    "noise_normal": (0.75, False),
    "noise_laplace": (0.75, False),
    "noise_bernoulli": (0.75, False),
    "patch": (0.5, False),
    "patch_fixed_place": (0.5, False),
    "patch_known_size": (0.5, False),
    "patch_image": (0.5, False),
    "patch_pairs": (0.5, False),
    "patch_adaptive": (0.5, True),
    "patch_adaptive_unpaired": (0.5, True),
    "universal": (0.5, True),
    "universal_patch": (0.5, True),
    "universal_mixed": (1.0, True),
}
ONE_STEP = (
    *("gradient_matching_last_layer", "gradient_matching_fast"),
    *("universal", "universal_patch", "universal_mixed"),
)
OPTIMISED = [name for name, (_, optimised) in ZOO.items() if optimised]


def test_the_zoo_is_complete():
    assert attacks.names() == list(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_defaults(name):
    attack = attacks.get(name)
    fraction, optimised = ZOO[name]
    assert attack.poison_fraction == fraction
    assert (attack.objective is not None) == optimised
    settings = attacks.settings(name)
    assert ("steps" in settings) == optimised
    assert attacks.get(name, **settings) == attack
    if "epsilon" in settings:
        assert attacks.get(name, epsilon=0.25).perturbation.radius == 0.25
        assert attack.perturbation.radius == 16 / 255
    if optimised:
        changed = attacks.get(name, steps=3, step_size=0.125, optimizer="pgd")
        assert (changed.steps, changed.step_size, changed.optimizer) == (3, 0.125, "pgd")
        assert attack.steps == (1 if name in ONE_STEP else 5)


@pytest.mark.parametrize("name", ZOO)
def test_attacks_survive_saving(name):
    attack = attacks.get(name)
    config = keras.saving.serialize_keras_object(attack)
    assert keras.saving.deserialize_keras_object(config) == attack


def make_case(attack, count=16, *, convolutional=True):
    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(0)
    images = tf.constant(draw.uniform(size=(count, 10, 10, 3)).astype("float32"))
    labels = tf.constant(draw.integers(4, size=count))
    layers = [keras.layers.Flatten(), keras.layers.Dense(4)]
    if convolutional:
        convolution = keras.layers.Conv2D(6, 3, strides=2)
        layers = [convolution, keras.layers.BatchNormalization(), keras.layers.ReLU(), *layers]
    network = keras.Sequential([keras.Input((10, 10, 3)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    batch = split(
        images,
        labels,
        LabelEncoding(4, one_hot=False),
        selection="share",
        poison_fraction=attack.poison_fraction,
        reduction=Reduction("replica"),
        key=Purpose.CRAFTING.key(0),
    )
    return Classifier(network, loss), batch


def craft(attack, classifier, batch, seed=0, **settings):
    return attack.craft(
        classifier,
        batch,
        pixels=PixelRange(),
        encoding=LabelEncoding(4, one_hot=False),
        key=Purpose.CRAFTING.key(seed),
        **settings,
    )


@pytest.mark.parametrize("name", OPTIMISED)
def test_crafting_lowers_the_objective(name):
    attack = attacks.get(name)
    before, after = craft(attack, *make_case(attack), measure=True).measured
    assert np.isfinite(before)
    assert after < before - 1e-3 * abs(before)


@pytest.mark.parametrize("name", ZOO)
def test_same_key_same_bits_and_other_key_other_poisons(name):
    attack = attacks.get(name)
    case = make_case(attack)
    first, again, other = (craft(attack, *case, seed=seed).poisoned.join() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    changed = (first.numpy() != other.numpy()).any()
    assert changed == (name != "watermark")  # Nothing of a watermark is drawn.
    assert 0 <= first.numpy().min() <= first.numpy().max() <= 1


@pytest.mark.parametrize("name", ["gradient_matching", "patch_adaptive"])
def test_a_graph_crafts_what_eager_execution_crafts(name):
    """The loop of a graph against Python's; signs of gradients near 0 may differ by rounding."""
    attack = attacks.get(name, steps=2)
    classifier, batch = make_case(attack)
    eager = craft(attack, classifier, batch).poisoned.join()
    graph = tf.function(lambda: craft(attack, classifier, batch).poisoned.join())()
    assert (np.abs(eager - graph) < 1e-6).mean() > 0.99


@pytest.mark.parametrize(
    "name", ["gradient_matching", "metapoison", "convex_polytope", "hidden_trigger", "patch_image"]
)
def test_attacks_can_be_compiled_by_xla(name):
    attack = attacks.get(name, **({"steps": 2} if ZOO[name][1] else {}))
    # A network that XLA is quick to compile, but for one attack.
    classifier, batch = make_case(attack, convolutional=name == "gradient_matching")

    @tf.function(jit_compile=True)
    def compiled():
        return craft(attack, classifier, batch).poisoned.join()

    images = compiled().numpy()
    assert np.isfinite(images).all()
    assert (images != batch.join().numpy()).any()


def test_zero_steps_leave_the_start():
    attack = attacks.get("gradient_matching", steps=0)
    classifier, batch = make_case(attack)
    start = attacks.get("noise_normal")  # The same start, without an objective.
    np.testing.assert_array_equal(
        craft(attack, classifier, batch).poisoned.join(),
        craft(start, classifier, batch).poisoned.join(),
    )


def test_nothing_is_measured_unasked():
    attack = attacks.get("evasion")
    assert [float(each) for each in craft(attack, *make_case(attack)).measured] == [0, 0]


@pytest.mark.parametrize("name", perturbations.names())
def test_perturbations_say_whether_they_move_the_targets(name):
    perturbation = perturbations.get(name)
    _, batch = make_case(tfpoison.Attack(perturbation, poison_fraction=0.5))
    bound = perturbation.bind(
        batch,
        pixels=PixelRange(),
        encoding=LabelEncoding(4, one_hot=False),
        key=Purpose.CRAFTING.key(0),
    )
    assert bound.moves_targets == perturbation.moves_targets


def test_other_combinations():
    """Orthogonal axes: patterns of patches that collide in feature space."""
    attack = tfpoison.Attack(
        perturbations.ClassPatch(place="class"),
        objectives.FeatureCollision(),
        optimizer="adam",
        step_size=0.1,
        poison_fraction=0.5,
    )
    before, after = craft(attack, *make_case(attack), measure=True).measured
    assert after < before


@pytest.fixture
def preparations(monkeypatch):
    """Counts how often gradient matching is prepared, as it runs rather than as it is traced."""
    ran = []
    prepare = objectives.GradientMatching.prepare

    def counting_prepare(self, *arguments):
        tf.numpy_function(lambda: ran.append(1) or 0, [], tf.int64)
        return prepare(self, *arguments)

    monkeypatch.setattr(objectives.GradientMatching, "prepare", counting_prepare)
    return ran


def test_what_stays_the_same_is_prepared_once(preparations):
    attack = attacks.get("gradient_matching", steps=4)
    craft(attack, *make_case(attack), measure=True)
    assert len(preparations) == 1


def test_replicas_prepare_once_what_stays_the_same(preparations, two_cpus):
    """Each replica looks at its own images as well, but only where the objective is measured."""
    attack = attacks.get("gradient_matching", steps=2)
    alone, batch = make_case(attack)
    together = Classifier(alone.network, alone.compiled_loss, reduction=Reduction("global"))

    @tf.function(autograph=False)
    def run(measure):
        return two_cpus.run(lambda: craft(attack, together, batch, measure=measure).measured)

    unmeasured = run(tf.constant(False))
    assert len(preparations) == 2
    measured = run(tf.constant(True))
    assert len(preparations) > 4
    expected = craft(attack, alone, batch, measure=True).measured
    for none, ours, theirs in zip(unmeasured, measured, expected, strict=True):
        assert [float(each) for each in none.values] == [0, 0]
        np.testing.assert_allclose([float(each) for each in ours.values], theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: attacks.get("gradient_maching"), ValueError, "mean 'gradient_matching'"),
        (lambda: attacks.get("patch", epsilon=0.1), ValueError, "Expected one of: .*patch_size"),
        (lambda: attacks.get("watermark", steps=2), ValueError, "setting of the attack"),
        (lambda: attacks.get("evasion", stpes=2), ValueError, "mean 'steps'"),
        (lambda: attacks.get("evasion", steps=-1), ValueError, "at least 0"),
        (lambda: attacks.get("evasion", steps=2.0), TypeError, "integer"),
        (lambda: attacks.get("evasion", step_size=0), ValueError, "above 0"),
        (lambda: attacks.get("evasion", optimizer="sgd"), ValueError, "sign_adam"),
        (lambda: attacks.get("evasion", initializer="gauss"), ValueError, "normal"),
        (lambda: attacks.get("evasion", poison_fraction=1.5), ValueError, "at most 1"),
        (lambda: attacks.get("patch", place="corner"), ValueError, "`place`"),
        (lambda: attacks.settings("pacth"), ValueError, "mean 'patch'"),
        (lambda: tfpoison.Attack("additive"), TypeError, "tfpoison Perturbation"),
        (
            lambda: tfpoison.Attack(perturbations.Additive(), "evasion"),
            TypeError,
            "tfpoison Objective",
        ),
        (
            lambda: tfpoison.Attack(perturbations.ClassPatch(), objectives.GradientMatchingFast()),
            ValueError,
            "moves the targets as well",
        ),
        *(
            (
                lambda settings=settings: tfpoison.Attack(perturbations.Additive(), **settings),
                ValueError,
                "Expected an objective beside .*objective=None, ",
            )
            for settings in ({"steps": 50}, {"optimizer": "pgd"}, {"step_size": 0.1})
        ),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "name", ["gradient_matching_fast", "metapoison", "hidden_trigger", "patch_adaptive"]
)
@pytest.mark.parametrize(
    ("dtype", "scale", "policies"),
    [("float64", 1, ("float32", "float32")), ("uint8", 255, ("float32", "float64"))],
)
def test_precisions_of_images_and_layers_may_differ(name, dtype, scale, policies):
    layers = [keras.layers.Dense(4, dtype=policies[0]), keras.layers.Dense(3, dtype=policies[1])]
    network = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), *layers])
    model = tfpoison.RobustModel(network, name, pixel_range=(0, scale), steps=1)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = tf.cast(scale * tf.random.stateless_uniform([8, 8, 8, 1], [0, 1]), dtype)
    crafted = model.craft(images, np.arange(8) % 3)
    moved = tf.cast(tf.abs(crafted.poisoned - crafted.clean), tf.float32) / scale
    assert 0.01 < float(tf.reduce_max(moved)) <= 1
