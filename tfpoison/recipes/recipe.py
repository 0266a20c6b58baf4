"""What a recipe of the adversary is: how poisons are made, once it is known for whom."""

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np

from tfpoison import data
from tfpoison.data import Augmentation
from tfpoison.objectives.gradient_matching import GradientMatching
from tfpoison.objectives.objective import Objective
from tfpoison.perturbations.patch import Patch
from tfpoison.perturbations.trigger import Trigger
from tfpoison.recipes import target_loss
from tfpoison.recipes.recipe_settings import RecipeSettings, SelectionSettings
from tfpoison.recipes.threat_settings import ThreatSettings
from tfpoison.settings import declared

# The rate falls to a tenth at these shares of the steps (arXiv 2009.02276, section 4).
_DECAYS = (3 / 8, 5 / 8, 7 / 8)


@dataclasses.dataclass(frozen=True)
class Recipe(SelectionSettings):
    """A way to make poisons; the fields of a subclass are the settings of one recipe.

    A recipe of one's own overrides `change`, or derives from `Crafted` with an objective.
    """

    triggered: ClassVar[bool] = False
    """Whether the targets are images that carry a trigger."""

    pastes_trigger: ClassVar[bool] = False
    """Whether the poisons carry the trigger as well."""

    crafts_trigger: ClassVar[bool] = False
    """Whether the trigger is what is crafted: one perturbation, shared by all poisons."""

    changes_labels: ClassVar[bool] = False
    """Whether poisons are images of the source class that get the adversary's label. All other
    recipes are clean-label."""

    all_to_one: ClassVar[bool] = False
    """Whether a trigger's sources are all other classes unless a threat says otherwise."""

    trigger_settings: ClassVar[tuple[str, ...]] = ("size", "place", "pattern")
    """Which of the settings of `Patch.draw` its trigger has."""

    covers: float = dataclasses.field(default=0.0, init=False)
    objective: Objective | None = dataclasses.field(default=None, init=False)
    surrogates: int = dataclasses.field(default=0, init=False)
    staggered: bool = dataclasses.field(default=False, init=False)

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Returns the names of the settings that make a difference, with their defaults."""
        return {field.name: field.default for field in declared(cls)}

    def values(self) -> dict[str, Any]:
        """Returns the value of each setting."""
        return {field.name: getattr(self, field.name) for field in declared(type(self))}

    @property
    def crafts_on_sources(self) -> bool:
        """Whether training images of the source class, with the trigger, are crafted with."""
        return self.triggered and self.objective is not None and self.objective.needs_targets

    def threat_settings(self, *, all_to_one: bool | None = None, **known: Any) -> ThreatSettings:
        """Returns what is known of a threat; the arguments are those of `ThreatSettings`.

        Sources of one class that are named are not to be of all classes.
        """
        if all_to_one is None:
            named = known.get("target_class") is not None or bool(known.get("target_ids"))
            all_to_one = self.all_to_one and not named
        return ThreatSettings(
            selection=self.selection,
            poisons_are_sources=self.changes_labels,
            covers=self.covers,
            all_to_one=all_to_one and self.triggered,
            **known,
        )

    def draw_trigger(
        self, rng: np.random.Generator, image_shape: tuple[int, int, int], **settings: Any
    ) -> Trigger:
        """Draws the trigger that targets carry: a patch, unless a recipe has another one.

        Args:
            rng: the source of the draws.
            image_shape: height, width and channels of the images.
            **settings: those of `Patch.draw` that are in `trigger_settings`.
        """
        return Patch.draw(rng, image_shape, **settings)

    def on_poisons(self, trigger: Trigger) -> Trigger:
        """Returns what poisons carry of the trigger; all of it by default."""
        return trigger

    def on_covers(self, trigger: Trigger) -> Trigger:
        """Returns what covers carry of the trigger; the same as poisons by default."""
        return self.on_poisons(trigger)

    def change(self, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Returns poisons before any trigger is put on them; by default the images as they are.

        Args:
            images: the clean images of the poisons, uint8 in 0–255, (n, H, W, C).
            targets: the target images as the victim will see them, uint8 (targets, H, W, C).
        """
        return images


@dataclasses.dataclass(frozen=True)
class Crafted(RecipeSettings, Recipe):
    """Poisons that are optimised within ε against surrogates; see `recipes.crafting`.

    Attributes:
        objective: what the poisons should achieve.
    """

    objective: Objective = dataclasses.field(default=GradientMatching())

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retrainings >= self.steps:
            raise ValueError(
                "Expected fewer retrainings than steps. Received: "
                f"{self.retrainings} of {self.steps}"
            )
        if self.staggered and self.surrogates == 1:
            raise ValueError(
                "Expected two surrogates or more to stop at different epochs. Received: "
                "staggered=True, surrogates=1"
            )

    @classmethod
    def settings(cls) -> dict[str, Any]:
        """Returns the settings; not every objective knows a loss of the targets."""
        loses = cls.objective.needs_targets and not cls.objective.needs_features
        without = set() if loses else {"target_loss"}
        known = super().settings()
        return {name: known[name] for name in known if name not in without}

    def rate(self, step: int) -> float:
        """Returns what the step size is multiplied by at a step; at the first it is 1."""
        # However few the steps are, one is made at each rate before the next lower one.
        falls = [max(int(self.steps * share), n) for n, share in enumerate(_DECAYS, 1)]
        return 0.1 ** sum(step >= fall for fall in falls)

    def retrainings_until(self, step: int) -> int:
        """Returns how often the surrogates have been trained anew when a step begins."""
        return int(step / (self.steps / (self.retrainings + 1)))

    def retrains_at(self, step: int) -> bool:
        """Returns whether the surrogates are trained anew before a step."""
        return step > 0 and self.retrainings_until(step) > self.retrainings_until(step - 1)

    def make_augmentation(self) -> Augmentation | None:
        """Returns how poisons are augmented at every step; None for not at all."""
        return data.AUGMENTATIONS.get(self.augmentation)

    def make_target_loss(self) -> keras.losses.Loss | None:
        """Returns what the targets lose; None for the loss that surrogates train with."""
        return target_loss.get(self.target_loss)
