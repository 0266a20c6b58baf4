"""The table of defenses, their expressions, and how their parts combine."""

import dataclasses
import functools
import itertools

import keras
import numpy as np
import pytest

import tfpoison
from tfpoison import attacks, defenses
from tfpoison.attacks import Crafting
from tfpoison.defenses import Defense, GradientShaping, filters, mixing, revisions, transforms
from tfpoison.defenses.gradient_shaping import Shaping
from tfpoison.perturbations import Additive
from tfpoison.randomness import split_key


def only(defense):
    """The kinds of parts that a defense has."""
    kinds = ("filters", "revision", "crafting", "transform", "mixing", "gradient_shaping")
    return [kind for kind in kinds if getattr(defense, kind) not in (None, ())]


def resolved(defense):
    """The defense with the share of poisons that its attack has by itself."""
    crafting = defense.crafting
    if crafting is None:
        return defense
    crafting = dataclasses.replace(crafting, poison_fraction=crafting.share)
    return dataclasses.replace(defense, crafting=crafting)


KINDS = {
    "none": [],
    "adversarial_poisoning": ["crafting"],
    "evasion": ["crafting"],
    "noise": ["crafting"],
    "gradient_shaping": ["gradient_shaping"],
    "jpeg": ["transform"],
    "grayscale": ["transform"],
    "bit_depth": ["transform"],
    "blur": ["transform"],
    "mixup": ["mixing"],
    "cutmix": ["mixing"],
    "cutout": ["mixing"],
    "maxup": ["mixing"],
    "spectral_signatures": ["filters"],
    "deep_knn": ["filters"],
    "activation_clustering": ["filters"],
    "isolation": ["filters"],
    "margin_drop": ["filters"],
    "linear_discriminants": ["filters"],
    "epic": ["revision"],
    "friendly_noise": ["revision", "crafting"],
}


def test_every_defense_is_of_its_kind():
    assert {name: only(defenses.get(name)) for name in defenses.names()} == KINDS


@pytest.mark.parametrize("name", defenses.names())
def test_settings_say_what_can_be_set(name):
    settings = defenses.settings(name)
    assert resolved(defenses.get(name, **settings)) == resolved(defenses.get(name))
    with pytest.raises(ValueError, match=r"Unknown setting of the defense"):
        defenses.get(name, no_such_setting=1)


def test_recorded_configurations_name_gradient_shaping_otherwise():
    settings = "(noise=0.03;distribution=laplacian)"
    recorded = defenses.from_text("mixup+dp_sgd" + settings)
    assert recorded == defenses.from_text("mixup+gradient_shaping" + settings)
    assert "dp_sgd" not in defenses.names()


@pytest.mark.parametrize("name", attacks.names())
def test_an_attacks_name_is_adversarial_poisoning_with_it(name):
    defense = defenses.get(name)
    assert defense == defenses.get("adversarial_poisoning", attack=name)
    assert defense.crafting.attack == attacks.get(name)
    assert defenses.is_crafting(name)


def test_every_part_is_in_the_table():
    for table in (filters, mixing, transforms):
        assert set(table.names()) <= set(defenses.names())
    assert set(revisions.names()) <= set(defenses.names())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Defense()),
        ("mixup", Defense(mixing=mixing.get("mixup"))),
        ("mixup(ways=4)", Defense(mixing=mixing.get("mixup", ways=4))),
        (
            " mixup ( ways = 4 ; alpha = 0.5 ) ",
            Defense(mixing=mixing.get("mixup", ways=4, alpha=0.5)),
        ),
        ("mixup()", Defense(mixing=mixing.get("mixup"))),
        (
            "cutout(size=3)+epic(share=0.2)",
            Defense(mixing=mixing.get("cutout", size=3), revision=revisions.get("epic", share=0.2)),
        ),
        (
            "gradient_matching(poison_fraction=0.5;epsilon=0.25)+mixup+gradient_shaping(noise=1e+1)",
            Defense(
                crafting=Crafting.of("gradient_matching", epsilon=0.25, poison_fraction=0.5),
                mixing=mixing.get("mixup"),
                gradient_shaping=Shaping(1.0, 10.0, "gaussian"),
            ),
        ),
        (
            "gradient_shaping(distribution=laplacian;clip_norm=None)",
            Defense(gradient_shaping=Shaping(None, 0.01, "laplacian")),
        ),
        (
            "patch(poison_fraction=0.25)+evasion",
            Defense(
                crafting=Crafting(
                    attacks.CompositeAttack(
                        (attacks.get("patch", poison_fraction=0.25), attacks.get("evasion"))
                    )
                )
            ),
        ),
        (
            "patch(warmup_epochs=2)+mixup+evasion(warmup_epochs=2)",
            Defense(
                crafting=Crafting(attacks.get("patch+evasion"), warmup_epochs=2),
                mixing=mixing.Mixup(),
            ),
        ),
        ("evasion(epsilon=0.1)", Defense(crafting=Crafting.of("evasion", epsilon=0.1))),
        ("evasion(epsilon=16/255)", Defense(crafting=Crafting.of("evasion", epsilon=16 / 255))),
        (
            "patch_adaptive(same_on_targets=false)",
            Defense(crafting=Crafting.of("patch_adaptive", same_on_targets=False)),
        ),
        (
            "hidden_trigger(one_to_one=true)",
            Defense(crafting=Crafting.of("hidden_trigger", one_to_one=True)),
        ),
        (
            "noise(kind=laplace;poison_fraction=0.5)",
            Defense(crafting=Crafting.of("noise_laplace", poison_fraction=0.5)),
        ),
    ],
)
def test_expressions(text, expected):
    assert defenses.from_text(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a defense as NAME"),
        ("mixup(", "Expected a defense as NAME"),
        ("mixup+", "Expected a defense as NAME"),
        ("mix up", "Expected a defense as NAME"),
        ("mixup(4)", "settings as name=value"),
        ("mixup(ways=)", "settings as name=value"),
        ("mixups", "Unknown defense.*'mixup'"),
        ("mixup(way=4)", "Unknown setting.*'ways'"),
        ("mixup+cutmix", "two with their own mixing"),
        (
            "gradient_matching+noise(warmup_epochs=2)",
            "agree on .*_epochs=0 and 2",
        ),
        ("friendly_noise+epic", "two with their own revision"),
        ("noise(kind=pink)", "Unknown kind of noise"),
        ("noise(poison_fraction=1.5)", "`poison_fraction`.*at most 1.*poison_fraction=1.5"),
        ("gradient_shaping(noise=-1)", "`noise`"),
        ("gradient_shaping(distribution=cauchy)", "distribution"),
        ("deep_knn(neighbors=0)", "`neighbors`"),
        ("gradient_matching(warmup_epochs=-1)", "`warmup_epochs`"),
        ("gradient_matching(matching=some)", "matching"),
    ],
)
def test_expressions_that_cannot_be(text, message):
    with pytest.raises(ValueError, match=message):
        defenses.from_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "patch_adaptive(same_on_targets=no)",
        "hidden_trigger(one_to_one=1)",
        "evasion(epsilon=1/0)",
        "evasion(epsilon=1/2/3)",
    ],
)
def test_values_of_another_type(text):
    with pytest.raises(TypeError, match="Expected `"):
        defenses.from_text(text)


def test_what_a_training_needs_to_know():
    plain = Defense()
    assert not plain.changes_training_set and not plain.needs_one_hot
    assert defenses.from_text("deep_knn").changes_training_set
    assert defenses.from_text("epic").changes_training_set
    assert defenses.from_text("mixup").needs_one_hot
    assert not defenses.from_text("cutout").needs_one_hot
    assert (plain.crafting, plain.mixing) == (None, None)
    lagging = defenses.from_text("gradient_matching(batch_statistics=true)+mixup")
    assert lagging.crafting.batch_statistics is True
    model = tfpoison.RobustModel(make_network(), lagging.crafting, mixing=lagging.mixing)
    assert model.batch_statistics and model.attack == lagging.crafting.attack
    assert model.mixing == lagging.mixing


def test_combination_does_not_depend_on_the_order():
    names = ("mixup", "epic", "gradient_matching", "gradient_shaping")
    parts = [defenses.get(name) for name in names]
    forward, backward = Defense(), Defense()
    for part in parts:
        forward = forward.combine(part)
    for part in reversed(parts):
        backward = backward.combine(part)
    assert forward == backward
    assert only(forward) == ["revision", "crafting", "mixing", "gradient_shaping"]


def test_filters_are_combined():
    both = defenses.from_text("deep_knn(neighbors=3)+mixup+margin_drop")
    assert both.filters == (filters.get("deep_knn", neighbors=3), filters.MarginDrop())
    assert both.mixing == mixing.get("mixup")
    assert defenses.from_text("margin_drop+deep_knn").filters[0] == filters.MarginDrop()


def test_the_optimizer():
    sgd = keras.optimizers.SGD(0.1)
    assert Defense().optimizer(sgd) is sgd
    wrapped = defenses.from_text("gradient_shaping(noise=0.5)").optimizer(sgd, seed=3)
    assert isinstance(wrapped, GradientShaping)
    assert (wrapped.noise, wrapped.seed) == (0.5, 3)
    clipping = keras.optimizers.SGD(0.1, global_clipnorm=1.0)
    with pytest.raises(ValueError, match="global_clipnorm"):
        defenses.from_text("gradient_shaping").optimizer(clipping)


def test_reading_a_defense_starts_no_device(monkeypatch):
    """Several workers' strategy must be made before any variable is, and flags are read before."""

    def made(*_, **__):
        raise AssertionError("a variable was made")

    monkeypatch.setattr(keras.Variable, "__init__", made)
    monkeypatch.setattr(keras.optimizers.Optimizer, "__init__", made)
    with pytest.raises(AssertionError, match="a variable"):
        GradientShaping("sgd")
    for name in defenses.names():
        defenses.from_text(name)


@pytest.mark.parametrize(
    ("text", "epochs", "message"),
    [
        ("gradient_matching(warmup_epochs=3)", 3, "fewer warm-up epochs.*Received: 3 of 3"),
        ("epic(first_epoch=5)", 5, "after the first revision.*Received: 5 epochs"),
    ],
)
def test_trainings_too_short_for_the_defense(text, epochs, message):
    defense = defenses.from_text(text)
    with pytest.raises(ValueError, match=message):
        defense.check_epochs(epochs)
    defense.check_epochs(epochs + 1)


def test_parts_that_exclude_each_other():
    attack = attacks.get("gradient_matching")
    patches = attacks.get("patch")
    for settings, message in [
        ({"attack": attack, "poison_fraction": 0.5, "target_selection": "one"}, "share"),
        ({"attack": attack, "poison_fraction": 1.0}, "below 1"),
        ({"attack": patches, "target_selection": "shuffled"}, "copies that are not trained on"),
        ({"attack": None, "poison_fraction": 0.5}, "nothing is crafted. .*poison_fraction=0.5"),
        ({"attack": None, "target_selection": "half"}, "nothing is crafted"),
        ({"attack": None, "warmup_epochs": 3}, "nothing is crafted"),
        ({"attack": None, "batch_statistics": True}, "nothing is crafted"),
        ({"attack": None, "matching": "replica"}, "nothing is crafted"),
    ]:
        with pytest.raises(ValueError, match=message):
            Crafting.of(**settings)
        with pytest.raises(ValueError, match=message):
            tfpoison.RobustModel(make_network(), **settings)


def make_data(labels_of):
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(48, 6, 6, 1)).astype("float32")
    return images, labels_of(draw.integers(3, size=48))


def make_network():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


@functools.cache
def fit(chosen):
    """The weights after crafting and mixing, compiled."""
    model = tfpoison.RobustModel(make_network(), "evasion", mixing=chosen, seed=2)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    data = make_data(lambda labels: keras.utils.to_categorical(labels, 3))
    model.fit(*data, batch_size=16, epochs=2, verbose=0, shuffle=False)
    return model.network.get_weights()


@pytest.mark.parametrize("name", mixing.names())
def test_mixing_in_the_step(name):
    """RobustModel mixes after crafting: other batches, the same bits again."""
    mixed, again, plain = fit(name), fit(mixing.get(name)), fit(None)
    for one, other in zip(mixed, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any((one != other).any() for one, other in zip(mixed, plain, strict=True))


class Recording(mixing.Mixing):
    """Mixes as another mixing does, and keeps what it was given and what it returned."""

    def __init__(self, name):
        self.inner = mixing.get(name)
        self.needs_one_hot = self.inner.needs_one_hot
        self.calls = []

    def _mix(self, classifier, images, labels, key):
        mixed = self.inner.mix(classifier, images, labels, key)
        self.calls.append((images.numpy(), labels.numpy(), *mixed))
        return mixed


@pytest.mark.parametrize("name", mixing.names())
@pytest.mark.parametrize("attack", [None, "evasion"])
def test_a_mixed_step_is_one_of_keras_on_what_was_mixed(name, attack):
    """Crafted images are mixed, not mixed images crafted; and images keep their own weights."""
    images, labels = make_data(lambda labels: keras.utils.to_categorical(labels, 3))
    weights = np.linspace(0, 2, len(images)).astype("float32")
    settings = {
        "optimizer": keras.optimizers.SGD(0.5),
        "loss": keras.losses.CategoricalCrossentropy(from_logits=True),
        "run_eagerly": True,
    }
    recording = Recording(name)
    model = tfpoison.RobustModel(make_network(), attack, mixing=recording)
    model.compile(**settings)
    expected = images if attack is None else model.craft(images, labels).poisoned
    batch = {"batch_size": len(images), "verbose": 0, "shuffle": False}
    model.fit(images, labels, sample_weight=weights, **batch)
    ((given, given_labels, mixed, mixed_labels),) = recording.calls
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(given_labels, labels)
    assert np.abs(mixed - given).mean() > 0.01
    assert (np.abs(mixed_labels - labels).max() > 0.1) == recording.needs_one_hot
    plain = make_network()
    plain.compile(**settings | {"optimizer": keras.optimizers.SGD(0.5)})
    plain.fit(mixed, mixed_labels, sample_weight=weights, **batch)
    for ours, theirs in zip(model.network.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_mixing_and_crafting_draw_apart(monkeypatch):
    """Draws by the same key would be the same: the cut of an image would follow its noise."""
    drawn = {"mixing": [], "crafting": []}
    bind = Additive.bind

    def recording_mix(self, classifier, images, labels, key):
        drawn["mixing"].append(key)
        return images, labels

    def recording_bind(self, batch, *, key, **arguments):
        drawn["crafting"].append(key)
        return bind(self, batch, key=key, **arguments)

    monkeypatch.setattr(mixing.Cutout, "_mix", recording_mix)
    monkeypatch.setattr(Additive, "bind", recording_bind)
    model = tfpoison.RobustModel(make_network(), "noise_uniform", mixing="cutout", seed=5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=True)
    model.fit(*make_data(lambda labels: labels), batch_size=16, verbose=0)

    def split(keys):
        return {tuple(part.numpy()) for key in keys for part in itertools.islice(split_key(key), 9)}

    keys = {
        kind: split(drawn[kind]) | {tuple(key.numpy()) for key in drawn[kind]} for kind in drawn
    }
    assert len(keys["mixing"]) == len(keys["crafting"]) == 30
    assert not keys["mixing"] & keys["crafting"]


def test_mixing_refused_at_the_door():
    with pytest.raises(TypeError, match="name of a mixing"):
        tfpoison.RobustModel(make_network(), None, mixing=3)
    with pytest.raises(ValueError, match="Unknown mixing"):
        tfpoison.RobustModel(make_network(), None, mixing="mixups")
    model = tfpoison.RobustModel(make_network(), None, mixing="mixup")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(ValueError, match="one-hot labels"):
        model.fit(*make_data(lambda labels: labels), verbose=0)


def test_mixing_survives_saving(tmp_path):
    model = tfpoison.RobustModel(make_network(), "evasion", mixing=mixing.get("mixup", ways=3))
    loaded = tfpoison.RobustModel.from_config(model.get_config())
    assert loaded.mixing == model.mixing
    assert loaded.attack == model.attack
