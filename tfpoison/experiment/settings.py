"""The settings of an experiment: what the adversary does, and what features are pretrained on."""

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from tfpoison import recipes
from tfpoison.fitting.settings import TrainingSettings
from tfpoison.settings import Settings, setting

if TYPE_CHECKING:
    from tfpoison.recipes.benchmark_setups import Setup
    from tfpoison.recipes.drawing import MakeTrigger
    from tfpoison.recipes.recipe import Recipe
    from tfpoison.recipes.scenario import Scenario
    from tfpoison.recipes.threat_settings import ThreatSettings

PRETRAINING_SOURCES = ("other_images", "other_classes", "data_set")


@dataclasses.dataclass(frozen=True)
class PretrainingSettings(Settings):
    """What the features of fine-tuning and transfer are trained on."""

    source: str = setting(
        "other_images",
        "Other images of the training split, other classes of it, or another data set.",
        choices=PRETRAINING_SOURCES,
    )
    size: int | None = setting(None, "Images; unset for all.", minimum=1)
    classes: tuple[int, ...] = setting(
        (), "Classes held back for it, for other_classes; the experiment is about the rest."
    )
    dataset: str | None = setting(None, "A TFDS name, for data_set.")
    data_dir: str | None = setting(None, "Where that lies.")
    epochs: int | None = setting(None, "Unset: as --epochs.", minimum=1)
    learning_rate: float | None = setting(None, "Unset: as --learning_rate.")
    milestones: tuple[int, ...] = setting((), "Of the schedule steps.")
    defended: bool = setting(
        False, "Defend it too where victims are defended.", flag="defended_pretraining"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.classes) != (self.source == "other_classes"):
            raise ValueError(
                "Expected classes for the pretraining on other classes, and for it alone. Received:"
                f" source={self.source!r}, classes={list(self.classes)}"
            )
        if (self.dataset is not None) != (self.source == "data_set"):
            raise ValueError(
                "Expected the name of a data set for the pretraining on another one, and for it "
                f"alone. Received: source={self.source!r}, dataset={self.dataset!r}"
            )

        if self.data_dir is not None and self.source != "data_set":
            raise ValueError(
                "Expected the folder of another data set for the pretraining on one alone. "
                f"Received: source={self.source!r}, data_dir={self.data_dir!r}"
            )

    def training(self, training: TrainingSettings) -> TrainingSettings:
        """Returns the settings of the pretraining, given those of the training."""
        changes: dict[str, Any] = {"milestones": self.milestones}
        if not self.milestones and training.schedule == "steps":
            changes["schedule"] = "constant"
        if self.epochs is not None:
            changes["epochs"] = self.epochs
        if self.learning_rate is not None:
            changes["learning_rate"] = self.learning_rate
        return dataclasses.replace(training, **changes)


@dataclasses.dataclass(frozen=True)
class AttackSettings(Settings):
    """What the adversary does; see `tfpoison.recipes`.

    Attributes:
        recipe: the recipe's name, or an expression.
        recipe_settings: settings of the recipe other than its defaults.
        threat: arguments of `ThreatSettings`, aside from those that the recipe sets.
        setups: published set-ups in place of drawn threats, one for each trial.
        adversaries: how many adversaries of this recipe there are in one training, each with a
            target, a class and poisons of its own.
    """

    recipe: str = "gradient_matching"
    recipe_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    scenario: str = "from_scratch"
    threat: dict[str, Any] = dataclasses.field(default_factory=dict)
    setups: "tuple[Setup, ...]" = ()
    adversaries: int = 1
    original_order: bool = setting(
        True,
        "Whether the data lie in the order that the set-ups count; if not, images of their classes "
        "are drawn.",
        flag="setups_in_original_order",
    )
    trigger_size: int | None = setting(
        None, "Side in pixels; unset: a quarter of the image's.", minimum=1
    )
    trigger_place: str = setting("random", "random, a corner as bottom_right, or ROW,COLUMN.")
    trigger_image: str | None = setting(None, "An image file; unset: random pixels.")
    sources: int = setting(
        128, "Source images that poisons are crafted with.", minimum=1, flag="trigger_sources"
    )
    clean_networks: int = setting(
        1,
        "Clean victims of every column that must classify a drawn target rightly, beside an "
        "undefended surrogate; 0 to draw any.",
        minimum=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.chosen_scenario
        self.threat_settings()

    @functools.cached_property
    def chosen_recipe(self) -> "Recipe":
        """The recipe with its settings."""
        return recipes.get(self.recipe, **self.recipe_settings)

    @property
    def optimised(self) -> bool:
        """Whether poisons are crafted against surrogates."""
        return self.chosen_recipe.objective is not None

    @property
    def chosen_scenario(self) -> "Scenario":
        """The scenario."""
        from tfpoison.recipes import scenario

        return scenario.get(self.scenario)

    def threat_settings(self, trial: int = 0) -> "ThreatSettings":
        """Returns what is known of a trial's threat before it is drawn.

        Raises:
            ValueError: there are set-ups, but none for this trial.
        """
        known = dict(self.threat)
        if self.setups:
            if trial >= len(self.setups):
                raise ValueError(
                    f"Expected a trial from 0 to {len(self.setups) - 1}, one for each set-up. "
                    f"Received: {trial}"
                )
            known |= self.setups[trial].threat(original_order=self.original_order)
        return self.chosen_recipe.threat_settings(**known)

    def trigger(self, image_shape: tuple[int, int, int]) -> "MakeTrigger | None":
        """Returns what draws the trigger; None for a recipe without one.

        Raises:
            ValueError: the trigger does not fit into images of that shape.
        """
        from tfpoison.perturbations.patch import read_pattern
        from tfpoison.randomness import Purpose

        recipe = self.chosen_recipe
        if not recipe.triggered:
            return None
        pattern = None if self.trigger_image is None else read_pattern(self.trigger_image)
        given: dict[str, Any] = {
            "size": self.trigger_size,
            "place": self.trigger_place,
            "pattern": pattern,
        }
        settings = {name: given[name] for name in recipe.trigger_settings}
        draw: MakeTrigger = functools.partial(recipe.draw_trigger, **settings)
        draw(Purpose.TRIGGER.generator(0), image_shape).check(image_shape)
        return draw
