"""Agreement with the paper's authors' implementation, in float64.

`pytest tests --reference-dir=DIR` checks any folder of such cases.
"""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison import attacks, objectives
from tfpoison.attacks.attack import BoundObjective
from tfpoison.batch import LabelEncoding, SplitBatch, split
from tfpoison.classifier import Classifier
from tfpoison.distribution import Reduction
from tfpoison.perturbations import ClassPatch, PairPatch
from tfpoison.perturbations.additive import BoundAdditive
from tfpoison.perturbations.class_patch import BoundPatches, PastedPatches
from tfpoison.perturbations.patches import Rectangles
from tfpoison.pixel_range import PixelRange
from tfpoison.randomness import Purpose

# The names that the cases give to attacks, optimizers, selections and recipes, and ours.
ATTACKS = {
    "wb": "gradient_matching",
    "se": "gradient_matching_se",
    "mp": "metapoison",
    "fc": "feature_collision",
    "evasion": "evasion",
    "htbd": "hidden_trigger",
    "watermark": "watermark",
}
OPTIMIZERS = {"signAdam": "sign_adam", "PGD": "pgd", "momSGD": "momentum", "Adam": "adam"}
RECIPES = {
    "gradient_matching_similarity": "gradient_matching",
    "gradient_matching_SE": "gradient_matching_squared_error",
    "metapoison": "metapoison",
    "bullseye": "feature_collision",
    "poison_frogs": "feature_collision",
    "convex_polytope": "convex_polytope",
}
# What stands in each of the bundled files, tests/reference/*.npz.
BUNDLED = pathlib.Path(__file__).parent / "reference"
SPLITS = {"sep-1", "sep-half", "sep-p96"}
BUNDLED_RECIPES = set(RECIPES) - {"convex_polytope"}
_PERTURBATIONS = {"signAdam_1", "signAdam_5", "PGD_5", "momSGD_3"}
_CRAFTED = {"initial_perturbation", *(f"perturbation_{each}" for each in _PERTURBATIONS)}
_MEASURED = {*_CRAFTED, "initial_objective", "initial_gradient"}
_BLENDED = {"initial_perturbation", "perturbation_signAdam_5"}
ENTRIES = {
    "wb/sep-p96": _MEASURED,
    "wb/sep-half": _MEASURED,
    "se/sep-p96": _MEASURED,
    "mp/sep-p96": _MEASURED,
    "fc/sep-p96": _MEASURED,
    "evasion/sep-p96": _MEASURED,
    "htbd/sep-half": {*_CRAFTED, "patched_target_images"},
    "watermark/sep-p96": _BLENDED,
    "watermark/sep-half": _BLENDED,
}
# The reference's step has -cos where its recipe, and we, have 1 - cos.
OFFSETS = {"wb": 1.0}


class Case:
    """One file of reference cases: a network, a batch, and what was computed on them."""

    def __init__(self, path):
        self.path = path
        self.arrays = np.load(path, allow_pickle=False)
        self.meta = json.loads(str(self.arrays["meta"]))
        self.epsilon = float(self.arrays["epsilon"])
        self.step_size = float(self.arrays["step_size"])

    def __getitem__(self, name):
        return tf.constant(self.arrays[name])

    def __contains__(self, name):
        return name in self.arrays.files

    def names(self, *parts):
        """Returns what stands under these parts in the file, each name cut after the next part."""
        prefix = "".join(f"{part}/" for part in parts)
        return sorted(
            {
                prefix + name[len(prefix) :].split("/")[0]
                for name in self.arrays.files
                if name.startswith(prefix) and "/" in name
            }
        )

    def recipes(self):
        """Returns the recipes; beside them stand the images and labels that they share."""
        return [name for name in self.names("recipe") if f"{name}/objective" in self]

    def entries(self):
        """Returns each attack with each selection of targets."""
        attacks = [each for each in self.names() if each not in ("split", "recipe")]
        return [entry for attack in attacks for entry in self.names(attack)]

    def network(self):
        layers = keras.layers
        normalization = {"epsilon": self.meta["bn_epsilon"]}
        deeper = [
            layers.Conv2D(24, 3, padding="same"),
            layers.BatchNormalization(**normalization),
            layers.ReLU(),
        ]
        network = keras.Sequential(
            [
                keras.Input(self["images"].shape[1:]),
                layers.Conv2D(8, 3, padding="same", activation="relu"),
                layers.AveragePooling2D(2),
                layers.Conv2D(16, 3, padding="same"),
                layers.BatchNormalization(**normalization),
                layers.ReLU(),
                *(deeper if self.meta["deep"] else []),
                layers.GlobalAveragePooling2D(),
                layers.Dense(self.meta["classes"]),
            ]
        )
        weights = sorted(name for name in self.arrays.files if name[0] == "w" and name[1].isdigit())
        network.set_weights([self.arrays[name] for name in weights])
        return network

    def classifier(self):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return Classifier(self.network(), loss)

    def batch(self, attack, selection):
        part = f"split/{selection}"
        targets = f"{attack}/{selection}/patched_target_images"
        return SplitBatch(
            poison_images=self[f"{part}/poison_images"],
            poison_labels=self[f"{part}/poison_labels"],
            target_images=self[targets if targets in self else f"{part}/target_images"],
            target_labels=self[f"{part}/target_true_labels"],
            fake_labels=self[f"{part}/target_fake_labels"],
        )


def pytest_generate_tests(metafunc):
    """Makes a test of every file, attack, selection, optimizer and recipe in the folder."""
    if "path" not in metafunc.fixturenames:
        return
    folder = metafunc.config.getoption("--reference-dir")
    paths = sorted(pathlib.Path(folder).glob("*.npz"))
    if not paths:
        raise pytest.UsageError(f"Expected reference cases, *.npz, in {folder}. Found none.")
    kind = next(
        name for name in ("split", "entry", "recipe", "path") if name in metafunc.fixturenames
    )
    parameters = []
    for path in paths:
        case = Case(path)
        if kind == "path":
            parameters.append(pytest.param(path, id=path.stem))
            continue
        names = {
            "split": lambda case: case.names("split"),
            "entry": Case.entries,
            "recipe": Case.recipes,
        }[kind](case)
        parameters += [pytest.param(path, name, id=f"{path.stem}/{name}") for name in names]
    if folder == BUNDLED and not parameters:
        raise pytest.UsageError(f"Expected cases of the kind {kind!r} in {folder}. Found none.")
    metafunc.parametrize("path" if kind == "path" else f"path, {kind}", parameters)


@pytest.fixture(autouse=True)
def _double_precision():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")


def last(names):
    return {name.split("/")[-1] for name in names}


@pytest.mark.parametrize("file", ["case_a.npz", "case_b.npz"])
def test_what_the_bundled_cases_hold(file):
    """Every attack, selection of targets, optimizer and recipe that the tests below are to run."""
    case = Case(BUNDLED / file)
    assert last(case.names("split")) == SPLITS
    assert last(case.recipes()) == BUNDLED_RECIPES
    assert {entry: last(case.names(*entry.split("/"))) for entry in case.entries()} == ENTRIES
    assert {each.split("/")[0] for each in ENTRIES} == set(ATTACKS)


def test_logits(path):
    case = Case(path)
    logits = case.network()(case["images"], training=False)
    np.testing.assert_allclose(logits, case["logits"], rtol=1e-9, atol=1e-12)


def test_split(path, split):
    case = Case(path)
    _check_split(case, split.split("/")[1])


def _check_split(case, name):
    count = len(case.arrays["images"])
    if name.startswith("sep-p"):
        # sep-p96: 96 poisons in a batch of 128.
        settings = {"selection": "share", "poison_fraction": int(name[5:]) / 128}
    else:
        selection = {"sep-half": "half", "sep-1": "one", "sep-10": "ten", "shuffle": "shuffled"}
        settings = {"selection": selection[name], "poison_fraction": 0.5}
    encoding = LabelEncoding(case.meta["classes"], one_hot=False)
    ours = split(
        case["images"],
        case["labels"],
        encoding,
        reduction=Reduction("replica"),
        key=Purpose.CRAFTING.key(0),
        **settings,
    )
    theirs = case.batch("", name)
    assert len(theirs.poison_labels) + len(theirs.target_labels) == count
    for part in ("poison_images", "poison_labels", "target_images", "target_labels"):
        np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))
    np.testing.assert_array_equal(ours.join(), case["images"])
    # On a tie any of the most frequent labels will do: theirs must be as frequent as ours.
    counts = np.bincount(theirs.poison_labels, minlength=encoding.classes)
    assert counts[ours.fake_labels[0]] == counts[theirs.fake_labels[0]] == counts.max()
    assert len(ours.fake_labels) == len(theirs.fake_labels)


def test_step(path, entry):
    """Objective, gradient and the perturbations after several steps, as one entry holds them."""
    case = Case(path)
    attack_name, selection = entry.split("/")
    attack = attacks.get(ATTACKS[attack_name], epsilon=case.epsilon)
    classifier, batch = case.classifier(), case.batch(attack_name, selection)
    if attack.objective is None:
        encoding = LabelEncoding(case.meta["classes"], one_hot=False)
        bound = attack.perturbation.bind(
            batch, pixels=PixelRange(), encoding=encoding, key=Purpose.CRAFTING.key(0)
        )
    else:
        start = case[f"{entry}/initial_perturbation"]
        bound = BoundAdditive(batch, PixelRange(), start, case.epsilon)
        aim = BoundObjective.bind(attack.objective, classifier, bound)
    checked = 0
    for name in case.names(*entry.split("/")):
        what = name.split("/")[-1]
        if what == "initial_objective":
            value = attack.objective.value(classifier, bound.apply([start]), aim.prepared)
            expected = case[name] + OFFSETS.get(attack_name, 0.0)
            np.testing.assert_allclose(value, expected, rtol=1e-9)
        elif what == "initial_gradient":
            (gradient,) = aim.gradients([start])
            scale = np.abs(case[name]).max()
            np.testing.assert_allclose(gradient, case[name], rtol=1e-9, atol=1e-9 * scale)
        elif what.startswith("perturbation_"):
            _, optimizer, steps = what.split("_")
            parameters = bound.initial
            if attack.objective is not None:
                attack_of_case = attacks.get(
                    ATTACKS[attack_name],
                    epsilon=case.epsilon,
                    optimizer=OPTIMIZERS[optimizer],
                    step_size=case.step_size,
                    steps=int(steps),
                )
                parameters = attack_of_case.descend(aim)
            np.testing.assert_allclose(parameters[0], case[name], rtol=0, atol=1e-9)
        else:
            assert what in ("initial_perturbation", "patched_target_images")
            continue
        checked += 1
    assert checked


def test_recipe(path, recipe):
    """The same objectives on a whole set of poisons, before training."""
    case = Case(path)
    name = recipe.split("/")[1]
    objective = objectives.get(RECIPES[name])
    batch = SplitBatch(
        poison_images=case["recipe/poison_images"],
        poison_labels=case["recipe/poison_labels"],
        target_images=case["recipe/target_images"],
        target_labels=case["recipe/adversarial_labels"],
        fake_labels=case["recipe/adversarial_labels"],
    )
    classifier = case.classifier()
    prepared = objective.prepare(classifier, batch)
    value = objective.value(classifier, batch, prepared)
    np.testing.assert_allclose(value, case[f"{recipe}/objective"], rtol=1e-9)
    gradient = objective.poison_gradient(classifier, batch, prepared)
    expected = case[f"{recipe}/gradient"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


# Patches: what the authors' code drew and pasted on the batches of the bundled cases.
PATCHES = [
    *("patch", "patch_fixed_place", "patch_known_size", "patch_image", "patch_pairs"),
    *("patch_adaptive", "patch_adaptive_unpaired"),
]


def test_every_attack_with_patches_has_a_case():
    kinds = (ClassPatch, PairPatch)
    names = [each for each in attacks.names() if isinstance(attacks.get(each).perturbation, kinds)]
    assert sorted(names) == sorted(PATCHES)


@pytest.mark.parametrize("file", ["case_a.npz", "case_b.npz"])
@pytest.mark.parametrize("name", PATCHES)
def test_patches(file, name):
    """The same draws are pasted, and crafted in five steps, as the authors' code does it."""
    case = Case(BUNDLED / file)
    with np.load(BUNDLED / "patches" / file, allow_pickle=False) as arrays:
        drawn = {key.split("/")[1]: arrays[key] for key in arrays if key.startswith(f"{name}/")}
    batch = case.batch("", "sep-half")
    on_poisons, on_targets = batch.poison_labels, np.arange(len(batch.target_labels))
    if name == "patch_pairs":
        on_poisons = np.arange(len(batch.poison_labels))
    else:
        on_targets = drawn["derangement"][batch.target_labels]
        batch = batch.replace(fake_labels=tf.constant(on_targets))
    patterns = [tf.constant(drawn["poison_patterns"])]
    if "target_patterns" in drawn:
        patterns.append(tf.constant(drawn["target_patterns"]))

    def pasted(side, which):
        stands_in = "poison" if f"{side}_sides" not in drawn else side
        sides = tf.constant(drawn[f"{stands_in}_sides"], tf.int32)
        canvas = drawn[f"{stands_in}_patterns"].shape[1:3]
        places = drawn.get(f"{side}_places", drawn["poison_places"]).astype(np.int32)
        rectangles = Rectangles(sides[:, 0], sides[:, 1], canvas)
        return PastedPatches(rectangles, tf.cast(which, tf.int32), (places[:, 0], places[:, 1]))

    bound = BoundPatches(
        batch, PixelRange(), patterns, pasted("poison", on_poisons), pasted("target", on_targets)
    )
    attack = attacks.get(name)
    if attack.objective is not None:
        attack = attacks.get(name, steps=5, step_size=case.step_size)
        aim = BoundObjective.bind(attack.objective, case.classifier(), bound)
        crafted = bound.apply(attack.descend(aim))
    else:
        # Pairs are not clipped: the authors' have values that no pixel can have.
        crafted = bound.apply(bound.initial)
    assert (crafted.poison_images != batch.poison_images).numpy().any(axis=(1, 2, 3)).sum() > 3
    np.testing.assert_allclose(crafted.poison_images, drawn["poisons"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(crafted.target_images, drawn["targets"], rtol=0, atol=1e-9)
