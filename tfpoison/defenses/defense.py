"""What a training is defended by: parts that act at different times, and combine."""

import dataclasses
from typing import Any

import keras

from tfpoison.attacks.crafting import Crafting
from tfpoison.defenses.filters.base import Filter
from tfpoison.defenses.gradient_shaping import GradientShaping, Shaping
from tfpoison.defenses.mixing import Mixing
from tfpoison.defenses.revisions.base import Revision
from tfpoison.defenses.transforms.base import Transform


@dataclasses.dataclass(frozen=True)
class Defense:
    """A defense, or several that go together.

    Attributes:
        filters: remove before training what any of them suspects.
        revision: changes the training set in mid-training.
        crafting: the attack that is crafted inside every training step, on batches with their true
            labels.
        transform: changes every training image, after crafting.
        mixing: mixes every batch, after that.
        gradient_shaping: how gradients are clipped and noised; None for not at all.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting's value cannot be, or two exclude each other.
    """

    filters: tuple[Filter, ...] = ()
    revision: Revision | None = None
    crafting: Crafting | None = None
    transform: Transform | None = None
    mixing: Mixing | None = None
    gradient_shaping: Shaping | None = None

    def check_epochs(self, epochs: int) -> None:
        """Raises ValueError where a training of so many epochs has no room for the defense."""
        if self.crafting is not None and self.crafting.warmup_epochs >= epochs:
            raise ValueError(
                "Expected fewer warm-up epochs than epochs: nothing would be defended. Received: "
                f"{self.crafting.warmup_epochs} of {epochs}"
            )
        if self.revision is not None:
            self.revision.epochs(epochs)

    def check_sides(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where images of that height and width are too small for the defense."""
        if self.crafting is not None:
            self.crafting.attack.check_sides(sides)
        if self.mixing is not None:
            self.mixing.check_sides(sides)

    def optimizer(self, optimizer: keras.optimizers.Optimizer, seed: int = 0) -> Any:
        """Returns the optimizer to train with: the given one, or `GradientShaping` around it."""
        if self.gradient_shaping is None:
            return optimizer
        return GradientShaping(optimizer, seed=seed, **vars(self.gradient_shaping))

    @property
    def changes_training_set(self) -> bool:
        """Whether it removes or changes training examples."""
        return bool(self.filters) or self.revision is not None

    @property
    def needs_one_hot(self) -> bool:
        """Whether labels must be one-hot."""
        return self.mixing is not None and self.mixing.needs_one_hot

    def combine(self, other: "Defense") -> "Defense":
        """Returns both defenses together: the filters of both, ours first, and all other parts.

        Where both craft, each attack has its part of every batch, see `CompositeAttack`.

        Raises:
            ValueError: both have a part of the same kind that is neither filter nor crafting, or
                their craftings differ in what is said of the training step.
        """
        ours, theirs = (
            {kind: part for kind, part in vars(each).items() if part is not None}
            for each in (self, other)
        )
        filters = ours.pop("filters") + theirs.pop("filters")
        if self.crafting is not None and other.crafting is not None:
            ours["crafting"] = self.crafting.combine(theirs.pop("crafting"))
        if clash := sorted(ours.keys() & theirs.keys()):
            raise ValueError(
                "Expected defenses that act in different ways to be combined. Received: two with "
                f"their own {', '.join(clash)}"
            )
        return Defense(filters, **ours | theirs)
