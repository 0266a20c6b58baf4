"""A stress test of one's own network and data: poison them, train, and see what a defense holds."""

import contextlib
import dataclasses
import math
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfpoison import defenses, expression
from tfpoison.attacks.zoo import DEFAULT
from tfpoison.checks import check_number
from tfpoison.data import Examples, ImageClassification, as_examples
from tfpoison.defenses import Defense
from tfpoison.experiment.adversary import check_attacks
from tfpoison.experiment.grid import Grid, GridRunner
from tfpoison.experiment.settings import AttackSettings
from tfpoison.experiment.setup import NO_DEFENSE, Setup, SetupSettings
from tfpoison.features import last_dense
from tfpoison.fitting import optimization
from tfpoison.fitting.settings import DataSettings, NetworkSettings, TrainingSettings
from tfpoison.fitting.trainer import set_up_keras
from tfpoison.recipes.fingerprints import fingerprint
from tfpoison.recipes.recipe import Crafted, Recipe
from tfpoison.recipes.table import RECIPES, name_of
from tfpoison.report.experiment import ExperimentReport
from tfpoison.runs.records import Records
from tfpoison.runs.run_directory import RunDirectory

Data = Examples | tuple[np.ndarray, np.ndarray]

# The paper's ε, and the number of values of the images that it is for.
_EPSILON, _VALUES = 16 / 255, 32 * 32 * 3


def stress_test(
    make_network: Callable[[], keras.Model],
    train: Data,
    validation: Data,
    *,
    recipe: str | Recipe = "gradient_matching",
    defense: str | Sequence[str] | Mapping[str, Defense] = DEFAULT,
    trials: int = 10,
    training: TrainingSettings | None = None,
    batch_size: int = 64,
    augmentation: str = "none",
    class_names: Sequence[str] | None = None,
    folder: str | pathlib.Path | None = None,
    verbose: bool = True,
    **attack: Any,
) -> ExperimentReport:
    """Attacks one's own training, undefended and defended, and says what the adversary reaches.

    In each trial an adversary poisons some training images so that a held-out one gets a class of
    the adversary's choice; fresh networks are trained on them, undefended and with each defense.

    ```python
    report = tfpoison.stress_test(make_network, (images, labels), (more_images, more_labels))
    print(report.answers, report.rows[0].success)  # A sentence; the mean in percent and its error.
    report.save("stress_test")  # A page, tables, figures.
    ```

    Args:
        make_network: returns a network with fresh weights, from images in [0, 1], (n, height,
            width, channels), to logits or probabilities, (n, classes).
        train: examples, or images (uint8 in 0–255 or floats in [0, 1]) and labels (integers or
            one-hot).
        validation: likewise, of images that are not in the training set.
        recipe: a name, an expression, or a recipe of `tfpoison.recipes`. By its name alone one that
            crafts is scaled to the data: one restart, images of the largest gradient norm, and an
            ε that moves images as far as 16/255 moves those of 32×32×3.
        defense: a name or an expression as on the command line, several, or objects by names.
        trials: the number of trials; with 20 and no success the standard error is 5.6 %.
        training: how networks are trained: None for 15 epochs of Adam. Its seed is that of all.
        batch_size: images of a step.
        augmentation: of training images: "none", "shift_flip", …
        class_names: the names of the classes; None for their numbers.
        folder: where it is kept, and goes on when it is called again; None for nowhere.
        verbose: whether progress is told.
        **attack: `clean_networks` of `AttackSettings`, and what `ThreatSettings` take. A budget of
            None is 1 % of the training set, but 25 where these are more, and no more than 5 %.

    Raises:
        TypeError, ValueError: an argument is something else than is said here.
    """
    check_number("trials", trials, minimum=1, whole=True)
    images = _images(train, validation, class_names)
    attacks = (_attack(recipe, images, augmentation, **attack),)
    training = training or TrainingSettings(epochs=15, optimizer="adam", learning_rate=0.002)
    data = DataSettings(batch_size=batch_size, augmentation=augmentation)
    settings = SetupSettings(data, NetworkSettings(), training, None, _columns(defense))
    setup = Setup(settings, images, make_network=_seeded(make_network))
    _check(setup, attacks, trials)
    grid = Grid(attacks, ("standard",), tuple(settings.defenses), trials, victims=1)
    return _run(grid, setup, folder, verbose)


def _run(
    grid: Grid, setup: Setup, folder: str | pathlib.Path | None, verbose: bool
) -> ExperimentReport:
    with contextlib.ExitStack() as stack:
        place = folder or stack.enter_context(tempfile.TemporaryDirectory())
        directory = RunDirectory(pathlib.Path(place), _flags(grid, setup), free=("trials",))
        stack.enter_context(directory.shared())
        records = Records(directory)
        if grid.left(records):
            seed = setup.settings.training.seed
            GridRunner(grid, setup, directory, seed=seed, verbose=verbose).run(records)
        grid.discard_work(directory)
        report = ExperimentReport.read(directory.path)
    kept = None if folder is None else report.directory
    return dataclasses.replace(report, title="Stress test", directory=kept)


def _images(
    train: Data, validation: Data, class_names: Sequence[str] | None
) -> ImageClassification:
    parts = [
        each if isinstance(each, Examples) else as_examples(*each) for each in (train, validation)
    ]
    most = max(int(each.labels.max(initial=0)) for each in parts) + 1
    names = tuple(map(str, range(most))) if class_names is None else tuple(class_names)
    if len(names) < most or parts[0].image_shape != parts[1].image_shape:
        raise ValueError(
            "Expected training and held-out images of one shape, and a name for each class. "
            f"Received: {parts[0].image_shape} and {parts[1].image_shape}, {len(names)} class "
            f"name(s) for labels up to {most - 1}"
        )
    return ImageClassification("images", names, *parts)


def _attack(
    recipe: str | Recipe,
    images: ImageClassification,
    augmentation: str,
    *,
    budget: float | None = None,
    clean_networks: int = 1,
    **threat: Any,
) -> AttackSettings:
    if isinstance(recipe, Recipe):
        name, values = name_of(recipe), recipe.values()
        settings = {each: values[each] for each in recipe.settings()}
    else:
        name, settings = expression.parse(recipe)
        if not settings and issubclass(RECIPES[name], Crafted):  # type: ignore[arg-type]
            far = _EPSILON * math.sqrt(_VALUES / math.prod(images.image_shape))
            settings = {
                "epsilon": min(max(far, _EPSILON / 2), 0.5),
                "restarts": 1,
                "selection": "gradient_norm",
                "augmentation": augmentation,
            }
    if budget is None:
        size = images.train.size
        budget = max(int(min(max(0.01 * size, 25), 0.05 * size)), 1)
    return AttackSettings(
        recipe=name,
        recipe_settings=settings,
        threat={"budget": budget, **threat},
        clean_networks=clean_networks,
    )


def _columns(defense: str | Sequence[str] | Mapping[str, Defense]) -> dict[str, Defense]:
    if isinstance(defense, Mapping):
        columns = dict(defense)
    else:
        names = [defense] if isinstance(defense, str) else defense
        columns = {name: defenses.from_text(name) for name in names}
    return {NO_DEFENSE: Defense()} | columns


def _check(setup: Setup, attacks: tuple[AttackSettings, ...], trials: int) -> None:
    """Raises ValueError or TypeError before any work starts where something cannot be."""
    images, settings, make = setup.images, setup.settings, setup.make_network
    assert make is not None
    for defense in settings.defenses.values():
        optimization.check(settings.training, defense)
        defense.check_sides(images.image_shape[:2])
        for each in defense.filters:
            each.check(images.train.size)
    check_attacks(attacks, settings, images.description, range(trials))
    set_up_keras(settings.training)
    network, other = make(0), make(0)
    if not isinstance(network, keras.Model) or network is other:
        raise TypeError(
            "Expected `make_network` to return a new keras.Model at every call. Received: "
            f"{network!r}{', twice' if network is other else ''}"
        )
    outputs = network(images.train.read(np.arange(1)).astype(np.float32) / 255)
    outputs = keras.ops.convert_to_numpy(outputs)
    if outputs.shape != (1, images.classes):
        raise ValueError(
            f"Expected a network with outputs of shape (n, {images.classes}), a logit for each "
            f"class. Received: {outputs.shape} for one image"
        )
    if outputs.min() >= 0 and np.isclose(outputs.sum(), 1, atol=1e-3):
        raise ValueError(
            "Expected a network from images to logits. Received probabilities, which do not come "
            "from the activation of the last Dense layer. Leave the softmax out."
        )


def _seeded(make_network: Callable[[], keras.Model]) -> Callable[[int], keras.Model]:
    """Returns a function from a seed to a network that ends with logits."""

    def make(seed: int) -> keras.Model:
        keras.utils.set_random_seed(seed)
        network = make_network()
        with contextlib.suppress(ValueError):
            head = last_dense(network)
            if head.activation is keras.activations.softmax:
                head.activation = keras.activations.linear
        return network

    return make


def _flags(grid: Grid, setup: Setup) -> dict[str, str]:
    """Returns what a folder's configuration says, and is gone on with."""
    (attack,), settings, images = grid.attacks, setup.settings, setup.images
    assert setup.make_network is not None
    weights = setup.make_network(0).weights
    return {
        "recipes": attack.recipe,
        "recipe_settings": repr(attack.chosen_recipe.values()),
        "threat": repr(attack.threat),
        "clean_networks": str(attack.clean_networks),
        "defenses": ",".join(grid.columns),
        "defense_settings": repr(settings.defenses),
        "trials": str(grid.trials),
        "training": repr(settings.training),
        "batch_size": str(settings.data.batch_size),
        "augmentation": settings.data.augmentation,
        "network": repr([tuple(each.shape) for each in weights]),
        "images": f"{fingerprint(images.train)} {fingerprint(images.validation)}",
    }
