"""What a training is defended by: parts that act at different times, and combine."""

import dataclasses
from typing import Any

import keras

from tfpoison.attacks import Attack
from tfpoison.attacks.in_step import resolve_poison_fraction
from tfpoison.checks import make_plain
from tfpoison.defenses.filters.base import Filter
from tfpoison.defenses.gradient_shaping import GradientShaping, Shaping
from tfpoison.defenses.mixing import Mixing
from tfpoison.defenses.revisions.base import Revision

# What a training step is told about crafting beside the attack.
STEP_SETTINGS = (
    *("poison_fraction", "target_selection", "warmup_epochs", "matching", "batch_statistics"),
)


@dataclasses.dataclass(frozen=True)
class Defense:
    """A defense, or several that go together.

    Attributes:
        filter: removes suspects before training.
        revision: changes the training set in mid-training.
        attack: crafted inside every training step, on batches with their true labels.
        poison_fraction: the share of each batch that is crafted; None for the attack's own.
        target_selection: how the batch is split; see `RobustModel`.
        warmup_epochs: epochs without crafting.
        matching: whether replicas craft together.
        batch_statistics: whether BatchNormalization crafts with those of the batch.
        mixing: changes every batch, after crafting.
        gradient_shaping: how gradients are clipped and noised; None for not at all.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting's value cannot be, or two exclude each other.
    """

    filter: Filter | None = None
    revision: Revision | None = None
    attack: Attack | None = None
    poison_fraction: float | None = None
    target_selection: str = "share"
    warmup_epochs: int = 0
    matching: str = "global"
    batch_statistics: bool = False
    mixing: Mixing | None = None
    gradient_shaping: Shaping | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        resolve_poison_fraction(**self._of_the_step())

    def check_epochs(self, epochs: int) -> None:
        """Raises ValueError where a training of so many epochs has no room for the defense."""
        if self.warmup_epochs >= epochs:
            raise ValueError(
                "Expected fewer warm-up epochs than epochs: nothing would be defended. Received: "
                f"{self.warmup_epochs} of {epochs}"
            )
        if self.revision is not None:
            self.revision.epochs(epochs)

    def check_sides(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where images of that height and width are too small for the defense."""
        if self.attack is not None:
            self.attack.perturbation.check_sides(sides)
        if self.mixing is not None:
            self.mixing.check_sides(sides)

    def robust_model_arguments(self) -> dict[str, Any]:
        """Returns the arguments of `RobustModel`."""
        if self.attack is None:
            return {"attack": None, "mixing": self.mixing}
        return self._of_the_step() | {"mixing": self.mixing}

    def _of_the_step(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("attack", *STEP_SETTINGS)}

    def optimizer(self, optimizer: keras.optimizers.Optimizer, seed: int = 0) -> Any:
        """Returns the optimizer to train with: the given one, or `GradientShaping` around it."""
        if self.gradient_shaping is None:
            return optimizer
        return GradientShaping(optimizer, seed=seed, **vars(self.gradient_shaping))

    @property
    def changes_training_set(self) -> bool:
        """Whether it removes or changes training examples."""
        return self.filter is not None or self.revision is not None

    @property
    def needs_one_hot(self) -> bool:
        """Whether labels must be one-hot."""
        return self.mixing is not None and self.mixing.needs_one_hot

    def combine(self, other: "Defense") -> "Defense":
        """Returns both defenses together.

        Raises:
            ValueError: both have a part of the same kind.
        """
        ours, theirs = self._parts(), other._parts()
        kinds = {"filter", "revision", "attack", "mixing", "gradient_shaping"}
        if clash := sorted(kinds & set(ours) & set(theirs)):
            raise ValueError(
                "Expected defenses that act in different ways to be combined. Received: two with "
                f"their own {', '.join(clash)}"
            )
        return Defense(**ours | theirs)

    def _parts(self) -> dict[str, Any]:
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
