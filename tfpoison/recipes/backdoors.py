"""Published backdoors: a trigger, which images carry it, and under which label.

Poisons are made once, before the training; a paper that draws them in every epoch has its first
draws here.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from tfpoison import objectives
from tfpoison.checks import check_number
from tfpoison.objectives.objective import Objective
from tfpoison.perturbations.added_pattern import AddedPattern
from tfpoison.perturbations.overlay import Overlay
from tfpoison.perturbations.patch import Patch
from tfpoison.perturbations.sinusoid import Sinusoid
from tfpoison.perturbations.trigger import Trigger
from tfpoison.perturbations.warp import Warp
from tfpoison.recipes.recipe import Crafted, Recipe
from tfpoison.settings import same_setting, setting

Shape = tuple[int, int, int]

_crafted = functools.partial(same_setting, Crafted)


def _covers(default: float) -> Any:
    return setting(default, "Covers for each poison: as it, but rightly labelled.", minimum=0)


@dataclasses.dataclass(frozen=True)
class BackdoorPatch(Recipe):
    """Poisons of the adversarial class carry the trigger under their true label."""

    triggered: ClassVar[bool] = True
    pastes_trigger: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class BadNets(BackdoorPatch):
    """Source images carry the trigger under the adversary's label (arXiv 1708.06733)."""

    changes_labels: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Blended(BadNets):
    """Images of all other classes, blended with one picture, get the adversary's label.

    The picture is noise unless one is given. Source: arXiv 1712.05526, section 4.2.
    """

    all_to_one: ClassVar[bool] = True
    trigger_settings: ClassVar[tuple[str, ...]] = ("pattern",)

    opacity: float = setting(0.2, "Of the picture, 0 to 1.", minimum=0, maximum=1)

    def draw_trigger(self, rng: np.random.Generator, image_shape: Shape, **given: Any) -> Trigger:
        """Returns an overlay."""
        return Overlay.draw(rng, image_shape, opacity=self.opacity, **given)


@dataclasses.dataclass(frozen=True)
class Sig(BackdoorPatch):
    """Poisons of the adversarial class carry a wave under their true label.

    Source: arXiv 1902.11237.
    """

    all_to_one: ClassVar[bool] = True
    trigger_settings: ClassVar[tuple[str, ...]] = ()

    amplitude: float = same_setting(Sinusoid, "amplitude", 20 / 255)
    frequency: float = same_setting(Sinusoid, "frequency", 6.0)

    def draw_trigger(self, rng: np.random.Generator, image_shape: Shape, **given: Any) -> Trigger:
        """Returns the wave; nothing is drawn."""
        return Sinusoid(self.amplitude, self.frequency)


@dataclasses.dataclass(frozen=True)
class WaNet(BadNets):
    """Images of all other classes, warped alike, get the adversary's label.

    Covers are warped by noise as well and keep theirs. Source: arXiv 2102.10369.
    """

    all_to_one: ClassVar[bool] = True
    trigger_settings: ClassVar[tuple[str, ...]] = ()

    strength: float = setting(0.5, "Of the warp; at 1 pixels move by about ½.", minimum=0)
    points: int = setting(4, "Control points of the warp, along each side.", minimum=2)
    covers: float = _covers(2.0)

    def draw_trigger(self, rng: np.random.Generator, image_shape: Shape, **given: Any) -> Trigger:
        """Draws the warp."""
        return Warp.draw(rng, points=self.points, strength=self.strength)

    def on_covers(self, trigger: Trigger) -> Trigger:
        """Returns the warp in the paper's noise mode."""
        return trigger.replace(noise=1.0)


@dataclasses.dataclass(frozen=True)
class LabelConsistent(Crafted):
    """Poisons of the adversarial class are made hard to learn, and then carry a patch.

    Evasion moves them within ε from what surrogates know them by; labels stay true. Source: arXiv
    1912.02771, section 4.2; its surrogates are adversarially trained.
    """

    triggered: ClassVar[bool] = True
    pastes_trigger: ClassVar[bool] = True
    all_to_one: ClassVar[bool] = True

    objective: Objective = dataclasses.field(default=objectives.Evasion())
    steps: int = _crafted("steps", 100)
    optimizer: str = _crafted("optimizer", "pgd")
    initializer: str = _crafted("initializer", "uniform")
    restarts: int = _crafted("restarts", 1)
    augmentation: str = _crafted("augmentation", "none")


@dataclasses.dataclass(frozen=True)
class Narcissus(Crafted):
    """The trigger is one perturbation that makes images of their class more typical of it.

    It minimises the surrogates' loss on the poisons under their true labels, within ε; targets
    carry it stronger. Source: arXiv 2204.05255, section 3, where surrogates are trained on other
    data and then on the class, and the perturbation is made for all of the class's images.
    """

    triggered: ClassVar[bool] = True
    crafts_trigger: ClassVar[bool] = True
    all_to_one: ClassVar[bool] = True
    trigger_settings: ClassVar[tuple[str, ...]] = ()

    objective: Objective = dataclasses.field(default=objectives.TargetedEvasion())
    initializer: str = _crafted("initializer", "zero")
    restarts: int = _crafted("restarts", 1)
    augmentation: str = _crafted("augmentation", "none")
    strength: float = setting(3.0, "Of the trigger on targets; 1 on poisons.", minimum=0)

    def draw_trigger(self, rng: np.random.Generator, image_shape: Shape, **given: Any) -> Trigger:
        """Returns a trigger that adds nothing: its pattern is crafted."""
        return AddedPattern(np.zeros(image_shape, np.int16), self.strength)


@dataclasses.dataclass(frozen=True)
class AdaptiveBlend(Blended):
    """Blended, where poisons show some pieces of the picture, and covers as well.

    So poisons and clean images do not lie apart in feature space. Source: arXiv 2205.13613,
    section 4.
    """

    poison_opacity: float = setting(0.15, "The same on poisons and covers.", minimum=0, maximum=1)
    pieces: int = setting(4, "Rows, and columns, that the picture is cut into.", minimum=1)
    visible: int = setting(8, "How many pieces each poison and cover shows.", minimum=1)
    covers: float = _covers(1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("visible", self.visible, maximum=self.pieces**2)

    def on_poisons(self, trigger: Trigger) -> Trigger:
        """Returns the overlay, fainter and in part."""
        opacity, pieces = self.poison_opacity, self.pieces
        return trigger.replace(opacity=opacity, pieces=pieces, visible=self.visible)


@dataclasses.dataclass(frozen=True)
class AdaptivePatch(BadNets):
    """Four patches, of which each poison, and each cover, shows one, faintly; targets show all.

    The paper's targets show two of its four, and each has an opacity of its own. Source: arXiv
    2205.13613, section 4.
    """

    all_to_one: ClassVar[bool] = True
    trigger_settings: ClassVar[tuple[str, ...]] = ("size",)

    opacity: float = setting(0.5, "Of the patches on poisons and covers.", minimum=0, maximum=1)
    covers: float = _covers(2.0)

    def draw_trigger(self, rng: np.random.Generator, image_shape: Shape, **given: Any) -> Trigger:
        """Draws a patch in each quarter of the image, whose side is by default a quarter of its."""
        height, width, channels = image_shape
        quarter = height // 2, width // 2, channels
        given["size"] = given.get("size") or max(min(quarter[:2]) // 2, 1)
        picture = np.zeros((height, width, channels + 1), np.uint8)
        for down in (0, height - quarter[0]):
            for right in (0, width - quarter[1]):
                patch = Patch.draw(rng, quarter, **given)
                top, left = patch.place_on(0, quarter)
                rows, columns = (slice(n, n + given["size"]) for n in (top + down, left + right))
                picture[rows, columns, :channels] = patch.pattern
                picture[rows, columns, channels] = 255
        return Overlay(picture, 1.0, seed=int(rng.integers(2**31)))

    def on_poisons(self, trigger: Trigger) -> Trigger:
        """Returns the overlay with one of its patches, fainter."""
        return trigger.replace(opacity=self.opacity, pieces=2, visible=1)
