"""Several attacks in one batch, each on images of its own."""

import dataclasses
from typing import Any, Self

import tensorflow as tf

from tfpoison.attacks.attack import Attack
from tfpoison.attacks.batch_attack import BatchAttack, PoisonedBatch
from tfpoison.classifier import Classifier
from tfpoison.perturbations.perturbation import Parameters
from tfpoison.randomness import split_key


@dataclasses.dataclass(frozen=True)
class CompositeAttack(BatchAttack):
    """Several attacks, each on an equal part of the batch, as if that were a batch of its own.

    What one attack leaves another may meet: patches say nothing of perturbations of all pixels, nor
    these of patches. In a batch in random order, as data sets should be, each image meets one of
    them by chance; it costs as much as the attacks do on average. The objective that is measured is
    the mean of theirs.

    Args:
        attacks: two or more.

    Raises:
        TypeError: they are no `Attack` each.
        ValueError: they are fewer than two.
    """

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", tuple(self.attacks))
        for each in self.attacks:
            if not isinstance(each, Attack):
                raise TypeError(
                    f"Expected `attacks` to be of tfpoison.Attack each. Received: {each!r} among "
                    "them. tfpoison.attacks.get makes one by its name."
                )
        if len(self.attacks) < 2:
            raise ValueError(
                f"Expected two attacks or more to compose. Received: attacks={self.attacks!r}"
            )

    @classmethod
    def of(cls, *attacks: BatchAttack) -> Self:
        """Returns the attacks together; of composite ones their parts."""
        return cls(tuple(part for each in attacks for part in each.parts))

    @property
    def parts(self) -> tuple[Attack, ...]:
        """The attacks."""
        return self.attacks

    @property
    def poison_fraction(self) -> float:  # type: ignore[override]
        """The share of a batch that is poisoned, that of the attacks on average."""
        return sum(each.poison_fraction for each in self.attacks) / len(self.attacks)

    def without_steps(self) -> Self:
        """Returns the attacks with perturbations left where they start."""
        return type(self)(tuple(each.without_steps() for each in self.attacks))

    def poison(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        *,
        key: tf.Tensor,
        start: list[Parameters] | None = None,
        **settings: Any,
    ) -> PoisonedBatch:
        count, many = tf.shape(images)[0], len(self.attacks)
        keys, made = split_key(key), []
        for number, attack in enumerate(self.attacks):
            part = slice(number * count // many, (number + 1) * count // many)
            made.append(
                attack.poison(
                    classifier,
                    images[part],
                    labels[part],
                    key=next(keys),
                    start=start and start[number : number + 1],
                    **settings,
                )
            )
        return PoisonedBatch(
            tf.concat([each.images for each in made], axis=0),
            tf.concat([each.is_poison for each in made], axis=0),
            tf.concat([each.of_no_other_class for each in made], axis=0),
            self._mean_objective(made),
            [each.kept[0] for each in made],
        )

    def _mean_objective(self, made: list[PoisonedBatch]) -> tuple[tf.Tensor, tf.Tensor]:
        measured = [
            each.measured
            for each, attack in zip(made, self.attacks, strict=True)
            if attack.objective is not None
        ]
        if not measured:
            return tf.constant(0.0), tf.constant(0.0)
        before, after = zip(*measured, strict=True)
        return tf.add_n(before) / len(measured), tf.add_n(after) / len(measured)
