"""What is crafted in a training step: one attack on the batch, or several on parts of it."""

import abc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

import tensorflow as tf

from tfpoison.batch import LabelEncoding, check_split
from tfpoison.classifier import Classifier
from tfpoison.configurable import Configurable
from tfpoison.objectives.objective import Objective
from tfpoison.perturbations.perturbation import Parameters
from tfpoison.pixel_range import PixelRange

if TYPE_CHECKING:
    from tfpoison.attacks.attack import Attack


class PoisonedBatch(NamedTuple):
    """A training batch with the poisons that were crafted in it, in the batch's order."""

    images: tf.Tensor
    """What is trained on, (n, H, W, C)."""
    is_poison: tf.Tensor
    """Which of the images are poisons, (n,)."""
    of_no_other_class: tf.Tensor
    """For each target of an attack that needs them, whether it met no poison of another class."""
    measured: tuple[tf.Tensor, tf.Tensor]
    """The objective before and after crafting, where it was to be measured; else 0."""
    kept: list[Parameters]
    """For each attack, the parameters that its next step starts from; none where they are drawn."""


class BatchAttack(Configurable, abc.ABC):
    """Base of what a training step crafts: an `Attack`, or a `CompositeAttack` of several."""

    poison_fraction: float
    """The share of a batch that is poisoned, where the attack's user gives none."""

    @property
    @abc.abstractmethod
    def parts(self) -> tuple["Attack", ...]:
        """The attacks that it is made of."""

    @abc.abstractmethod
    def without_steps(self) -> Self:
        """Returns the attack with perturbations left where they start, to look at them."""

    @abc.abstractmethod
    def poison(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        *,
        selection: str,
        poison_fraction: float | None,
        pixels: PixelRange,
        encoding: LabelEncoding,
        key: tf.Tensor,
        measure: tf.Tensor | bool = False,
        start: list[Parameters] | None = None,
        transform: Callable[[tf.Tensor], tf.Tensor] | None = None,
    ) -> PoisonedBatch:
        """Splits a batch of floating-point images into poisons and targets, and crafts.

        Args:
            selection: which images are the targets, see `Crafting`.
            poison_fraction: the share of poisons, for `"share"` alone; None for the attack's own.
            key: the key of the random draws.
            measure: whether to evaluate the objective before and after.
            start: what the last step kept; None in the first, or where nothing is kept.
            transform: what poisons pass through, once crafted, before they are trained on.
        """

    @property
    def objectives(self) -> list[Objective]:
        """What crafting aims at; empty where perturbations stay as they are drawn."""
        return [each.objective for each in self.parts if each.objective is not None]

    @property
    def moves(self) -> bool:
        """Whether crafting moves a perturbation, and has room to."""
        crafted = [each for each in self.parts if each.objective is not None]
        return any(each.steps > 0 and each.perturbation.radius > 0 for each in crafted)

    @property
    def needs_targets(self) -> bool:
        """Whether target images are needed beside the poisons."""
        return any(each.needs_targets for each in self.parts)

    def start(
        self, classes: int, image_shape: Sequence[int], key: tf.Tensor, dtype: tf.DType
    ) -> list[Parameters]:
        """Returns for each attack where the parameters start that a training keeps."""
        return [
            each.perturbation.start(classes, image_shape, key, dtype)
            if each.perturbation.lasts
            else []
            for each in self.parts
        ]

    def check_sides(self, sides: tuple[int, int]) -> None:
        """Raises ValueError where images of that height and width are too small."""
        for each in self.parts:
            each.perturbation.check_sides(sides)

    def check_split(self, selection: str, poison_fraction: float | None) -> None:
        """Raises ValueError or TypeError where a batch cannot be split so for the attack."""
        for each in self.parts:
            share = each.poison_fraction if poison_fraction is None else poison_fraction
            check_split(selection, share, needs_targets=each.needs_targets)
            if selection == "shuffled" and each.perturbation.changes_targets:
                raise ValueError(
                    "This attack changes the targets as well and trains on them, and with "
                    'target_selection="shuffled" they are copies that are not trained on. Choose '
                    f'"share" or "half". Received: attack={each!r}'
                )
