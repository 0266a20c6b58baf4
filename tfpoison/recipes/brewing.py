"""Brewing: any recipe, carried out for a threat."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfpoison.data import Examples
from tfpoison.recipes import table
from tfpoison.recipes.crafting import Crafter, Task, Transform
from tfpoison.recipes.poisoned_examples import PoisonedExamples
from tfpoison.recipes.poisons import Poisons
from tfpoison.recipes.recipe import Crafted, Recipe
from tfpoison.recipes.threat import Threat, positions_of

Retrain = Callable[[int, PoisonedExamples], Sequence[keras.Model]]


def brew(
    recipe: str | Recipe,
    surrogates: Sequence[keras.Model],
    threat: Threat,
    train: Examples,
    validation: Examples,
    *,
    loss: Any = None,
    learning_rates: Sequence[float] | None = None,
    transform: Transform | None = None,
    **settings: Any,
) -> Poisons:
    """Makes the poisons of a threat.

        images = tfpoison.data.load("digits", train_size=200, validation_size=100)
        recipe = recipes.get("gradient_matching", epsilon=64 / 255, steps=10, restarts=1)
        threat = recipes.draw_threat(
            recipe.threat_settings(budget=8), TrialKey(0, 0), images.train, images.validation, 10
        )
        layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        network = keras.Sequential(layers)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile("adam", loss)
        network.fit(images.train.images / 255, images.train.labels, verbose=0)
        poisons = recipes.brew(recipe, [network], threat, images.train, images.validation)
        poisons.save("poisons.npz")
        poisoned = poisons.poison(images.train)

    Args:
        recipe: a name, an expression `NAME(setting=value;…)`, or a recipe.
        surrogates: trained networks to craft against, from images in [0, 1], (n, H, W, C), to
            logits, (n, classes); empty for recipes that craft against none.
        threat: who the poisons are for; `recipes.draw_threat` draws one.
        train: the training set.
        validation: the held-out images, the targets among them.
        loss: what the surrogates were trained with; None for cross-entropy of logits.
        learning_rates: see `recipes.crafting.Crafter`.
        transform: see there.
        **settings: the arguments of `Brewer.brew`: seed, retrain, state_file, …

    Raises:
        ValueError: the recipe is unknown, has no surrogates, or one too many; a threat that the
            recipe does not go with; see also `Crafter.craft`.
    """
    brewer = Brewer(
        recipe, surrogates, loss=loss, learning_rates=learning_rates, transform=transform
    )
    return brewer.brew(threat, train, validation, **settings)


class Brewer:
    """Makes poisons by one recipe, as `brew`, for any number of threats; graphs are traced once."""

    def __init__(
        self,
        recipe: str | Recipe,
        surrogates: Sequence[keras.Model] = (),
        *,
        loss: Any = None,
        learning_rates: Sequence[float] | None = None,
        transform: Transform | None = None,
    ):
        self.recipe = table.get(recipe)
        self._crafter: Crafter | None = None
        if isinstance(self.recipe, Crafted):
            plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self._crafter = Crafter(
                self.recipe,
                surrogates,
                plain if loss is None else loss,
                learning_rates=learning_rates,
                transform=transform,
            )

    def brew(
        self,
        threat: Threat,
        train: Examples,
        validation: Examples,
        *,
        seed: int = 0,
        data_set: str = "",
        remarks: dict[str, Any] | None = None,
        retrain: Retrain | None = None,
        **settings: Any,
    ) -> Poisons:
        """Makes the poisons of a threat.

        Args:
            validation: the held-out images, the targets among them.
            seed: of initial draws and augmentation.
            data_set: the data set's name, for the poisons' file.
            remarks: what is noted in the poisons' `settings` beside the recipe's own.
            retrain: trains surrogates anew on a poisoned training set, given the number of the
                retraining as well; needed where the recipe asks for it.
            **settings: `state_file`, `seconds`, `verbose` of `Crafter.craft`.

        Raises:
            ValueError: the threat has no trigger where the recipe needs one; see also
                `Crafter.craft`.
        """
        recipe = self.recipe
        if recipe.triggered != (threat.trigger is not None):
            raise ValueError(
                f"Expected a threat {'with a' if recipe.triggered else 'without any'} trigger for "
                f"{type(recipe).__name__}. Received: {threat.trigger}"
            )
        positions = positions_of(train, threat.poison_ids)
        images, labels = train.read(positions), train.labels[positions]
        make = functools.partial(Poisons.make, train, threat=threat, data_set=data_set)
        if recipe.changes_labels:
            make.keywords["labels"] = np.where(threat.is_cover, labels, threat.adversarial_class)

        def retrain_on(number: int, poisoned: np.ndarray) -> Sequence[keras.Model]:
            assert retrain is not None
            return retrain(number, make(poisoned=poisoned).poison(train))

        targets = _targets(recipe, threat, train, validation)
        history: list[float] = []
        fake_labels = np.full(len(targets), threat.adversarial_class)
        if self._crafter is None:
            poisoned = recipe.change(images, targets)
        else:
            callback = None if retrain is None else retrain_on
            task = Task(images, labels, targets, fake_labels, seed, callback)
            changes, history = self._crafter.craft(task, **settings)
            poisoned = task.changed(changes)
            if recipe.crafts_trigger:
                assert threat.trigger is not None
                crafted = threat.trigger.replace(pattern=changes[0])
                make.keywords["threat"] = dataclasses.replace(threat, trigger=crafted)
        if recipe.pastes_trigger:
            assert threat.trigger is not None
            carried = recipe.on_poisons(threat.trigger), recipe.on_covers(threat.trigger)
            for trigger, some in zip(carried, (~threat.is_cover, threat.is_cover), strict=True):
                poisoned[some] = trigger.put_on(poisoned[some], threat.poison_ids[some])
        noted = {"recipe": table.name_of(recipe), **recipe.values(), **(remarks or {})}
        noted["objective_of_each_restart"] = history
        return make(poisoned=poisoned, settings=noted)


def _targets(recipe: Recipe, threat: Threat, train: Examples, validation: Examples) -> np.ndarray:
    """Returns what is crafted with: targets, training images that carry the trigger, or none."""
    if recipe.objective is not None and not recipe.objective.needs_targets:
        return np.zeros((0, *train.image_shape), np.uint8)
    if recipe.crafts_on_sources:
        return threat.source_images(train)
    return threat.target_images(validation)
