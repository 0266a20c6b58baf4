"""The settings of an experiment: what the adversary does, and what features are pretrained on."""

import dataclasses
from typing import Any

import keras

from tfpoison import data, recipes
from tfpoison.checks import check_name, check_number
from tfpoison.fitting.settings import LARGEST, TrainingSettings
from tfpoison.objectives import Objective
from tfpoison.randomness import Purpose
from tfpoison.recipes import BrewSettings, ThreatSettings, Trigger, scenario, target_loss
from tfpoison.recipes.benchmark_setups import Setup
from tfpoison.recipes.trigger import read_pattern

PRETRAINING_SOURCES = ("other_images", "other_classes", "data_set")


@dataclasses.dataclass(frozen=True)
class PretrainingSettings:
    """What the features of fine-tuning and transfer are trained on.

    Attributes:
        source: `"other_images"` of the same training split, `"other_classes"` of it, or
            `"data_set"`, another data set.
        size: the number of images; None for all there are.
        classes: the classes held back for it, for `"other_classes"`; the experiment is about the
            rest.
        dataset: the other data set's name, for `"data_set"`.
        data_dir: where it lies.
        epochs: of the pretraining; None for as many as the training has.
        learning_rate: of the pretraining; None for the training's.
        milestones: of the pretraining, for the schedule "steps".
        defended: whether the pretraining of defended victims is defended as well.
    """

    source: str = "other_images"
    size: int | None = None
    classes: tuple[int, ...] = ()
    dataset: str | None = None
    data_dir: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    milestones: tuple[int, ...] = ()
    defended: bool = False

    def __post_init__(self) -> None:
        check_name("pretraining source", self.source, PRETRAINING_SOURCES)
        for name in ("size", "epochs"):
            if getattr(self, name) is not None:
                check_number(
                    f"pretraining_{name}",
                    getattr(self, name),
                    minimum=1,
                    maximum=LARGEST,
                    whole=True,
                )
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
class AttackSettings:
    """What the adversary does; see `tfpoison.recipes`.

    Attributes:
        recipe: the recipe's name.
        recipe_settings: settings of the recipe other than its defaults.
        scenario: what the victim starts from and trains.
        threat: arguments of `ThreatSettings`, aside from those that the recipe sets.
        setups: published set-ups in place of drawn threats, one for each trial.
        original_order: whether the data lie in the order that the set-ups count.
        trigger_size: the side of triggers in pixels; None for a quarter of the images' side.
        trigger_place: `"random"`, a corner, or `"ROW,COLUMN"`.
        trigger_image: an image file in place of a random trigger.
        sources: how many source images triggered poisons are crafted with.
        clean_networks: how many clean victims of every column must classify a target rightly that
            is drawn, beside an undefended surrogate; 0 to draw any. Targets that are given, or
            carry a trigger, are taken as they are.
    """

    recipe: str = "gradient_matching"
    recipe_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    scenario: str = "from_scratch"
    threat: dict[str, Any] = dataclasses.field(default_factory=dict)
    setups: tuple[Setup, ...] = ()
    original_order: bool = True
    trigger_size: int | None = None
    trigger_place: str = "random"
    trigger_image: str | None = None
    sources: int = 128
    clean_networks: int = 1

    def __post_init__(self) -> None:
        check_name("scenario", self.scenario, scenario.names())
        check_number("clean_networks", self.clean_networks, minimum=0, whole=True)
        check_number("trigger_sources", self.sources, minimum=1, whole=True)
        settings = self.settings
        check_name("augmentation", settings["augmentation"], data.augmentation.names())
        check_number("surrogates", settings["surrogates"], minimum=1, maximum=1000, whole=True)
        if settings["staggered"] and settings["surrogates"] == 1:
            raise ValueError(
                "Expected two surrogates or more to stop at different epochs. Received: "
                "staggered=True, surrogates=1"
            )
        self.threat_settings()
        self.target_loss()
        if self.objective() is not None:
            self.brew_settings()
        else:
            check_number("epsilon", settings["epsilon"], minimum=0, maximum=1)

    @property
    def optimised(self) -> bool:
        """Whether poisons are crafted against surrogates."""
        return recipes.get(self.recipe).objective is not None

    @property
    def needs_pretraining(self) -> bool:
        """Whether victims start from pretrained features."""
        return scenario.get(self.scenario).pretrained

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the recipe."""
        return recipes.settings(self.recipe, **self.recipe_settings)

    def objective(self) -> Objective | None:
        """Returns what the poisons are optimised for; None where nothing is."""
        return recipes.get(self.recipe).objective

    def target_loss(self) -> keras.losses.Loss | None:
        """Returns what the targets lose; None for the loss of training."""
        return target_loss.get(self.settings["target_loss"])

    def threat_settings(self, trial: int = 0) -> ThreatSettings:
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
        return ThreatSettings(
            selection=self.settings["selection"],
            poisons_are_sources=recipes.get(self.recipe).changes_labels,
            **known,
        )

    def brew_settings(self) -> BrewSettings:
        """Returns how the perturbation is optimised."""
        objective, settings = self.objective(), self.settings
        assert objective is not None
        names = [each.name for each in dataclasses.fields(BrewSettings) if each.name in settings]
        chosen = {name: settings[name] for name in names}
        chosen["augmentation"] = data.augmentation.get(settings["augmentation"])
        return BrewSettings(objective, **chosen)

    def trigger(self, image_shape: tuple[int, int, int]) -> dict[str, Any] | None:
        """Returns the arguments of `Trigger.draw`; None for a recipe without a trigger.

        Raises:
            ValueError: the trigger does not fit into images of that shape.
        """
        if not recipes.get(self.recipe).triggered:
            return None
        quarter = max(min(image_shape[:2]) // 4, 1)
        size = quarter if self.trigger_size is None else self.trigger_size
        pattern = None if self.trigger_image is None else read_pattern(self.trigger_image)
        arguments = {"size": size, "place": self.trigger_place, "pattern": pattern}
        Trigger.draw(Purpose.TRIGGER.generator(0), image_shape, **arguments)  # type: ignore[arg-type]
        return arguments
