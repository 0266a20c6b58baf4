"""The published recipes: objective × perturbation × what is triggered."""

import functools
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tfpoison import objectives
from tfpoison.objectives.objective import Objective
from tfpoison.perturbations.blend import Blend
from tfpoison.perturbations.perturbation import perturb
from tfpoison.recipes.recipe import Crafted, Recipe
from tfpoison.settings import same_setting, setting

_default = functools.partial(same_setting, Crafted)


@dataclass(frozen=True)
class GradientMatching(Crafted):
    """The poisons' training gradient points where the target's does (arXiv 2009.02276)."""


@dataclass(frozen=True)
class GradientMatchingFast(Crafted):
    """Gradient matching by differences of first derivatives: sooner, and to a smaller objective."""

    objective: Objective = field(default=objectives.GradientMatchingFast())


@dataclass(frozen=True)
class GradientMatchingSquaredError(Crafted):
    """Gradient matching by the squared distance of the gradients (arXiv 2102.13624)."""

    objective: Objective = field(default=objectives.GradientMatchingSquaredError())


@dataclass(frozen=True)
class MetaPoison(Crafted):
    """Against an ensemble of surrogates at different stages of training (arXiv 2004.00225)."""

    objective: Objective = field(default=objectives.MetaPoison())
    surrogates: int = _default("surrogates", 4)
    staggered: bool = _default("staggered", True)


@dataclass(frozen=True)
class PoisonFrogs(Crafted):
    """Poisons with the target's features (arXiv 1804.00792), in the form of the authors' code.

    It collides the mean of the features as bullseye does, starts at the images themselves and knows
    no restarts.
    """

    objective: Objective = field(default=objectives.FeatureCollision())
    initializer: str = _default("initializer", "zero")
    restarts: int = _default("restarts", 1)


@dataclass(frozen=True)
class Bullseye(Crafted):
    """Poisons whose features have the target's for their mean (arXiv 2005.00191)."""

    objective: Objective = field(default=objectives.FeatureCollision())


@dataclass(frozen=True)
class ConvexPolytope(Crafted):
    """Poisons whose features surround the target's (arXiv 1905.05897)."""

    objective: Objective = field(default=objectives.ConvexPolytope())


@dataclass(frozen=True)
class HiddenTrigger(Crafted):
    """Poisons with the features of images that carry the trigger (arXiv 1910.00033)."""

    triggered: ClassVar[bool] = True
    objective: Objective = field(default=objectives.HiddenTrigger(one_to_one=True))


@dataclass(frozen=True)
class SleeperAgent(Crafted):
    """Gradient matching toward a trigger, with surrogates trained anew (arXiv 2106.08970)."""

    triggered: ClassVar[bool] = True
    selection: str = _default("selection", "gradient_norm")
    restarts: int = _default("restarts", 1)
    retrainings: int = _default("retrainings", 4)


@dataclass(frozen=True)
class Watermark(Recipe):
    """A faint target in every poison (arXiv 1804.00792, section 3)."""

    epsilon: float = setting(0.3, "ε, the opacity of the watermark.", minimum=0, maximum=1)

    def change(self, images: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return perturb(Blend(self.epsilon), images, targets)
