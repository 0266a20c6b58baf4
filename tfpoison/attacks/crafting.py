"""What is crafted inside a training step, said once for models, defenses and flags."""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfpoison.attacks.zoo import ATTACKS
from tfpoison.choices import MATCHING, TARGET_SELECTIONS
from tfpoison.settings import Settings, declared, setting

if TYPE_CHECKING:
    from tfpoison.attacks.batch_attack import BatchAttack


@dataclasses.dataclass(frozen=True)
class Crafting(Settings):
    """An attack that is crafted inside every training step, on a part of the batch.

    Attributes:
        poison_fraction: the share of each batch that is poisoned, above 0 and at most 1, for
            `target_selection="share"`; None for the attack's own: 0.75, 0.5 for patches and hidden
            triggers, 1 for evasion.
        target_selection: which images of the batch are the targets: `"share"` (the last ones),
            `"half"` (the first half), `"one"`, `"ten"` (the first ones), `"shuffled"` (copies of
            all images in a random order; all images are poisons).
        warmup_epochs: epochs of `fit` without crafting at the start. Each `fit` counts its epochs
            from its `initial_epoch`, 0 unless it is given: one that goes on with a training needs
            it, and one that ends within the warm-up warns.
        matching: under a strategy, `"global"`: the replicas craft together what one device would
            craft on the whole batch (but for random draws, starts and patches, of which each
            replica has its own); `"replica"`: each crafts on its own part.
        batch_statistics: whether BatchNormalization layers that train use the statistics of the
            poisons and of the targets while these are crafted, not their moving ones as in the
            paper. It is for networks whose moving statistics lag far behind (momentum 0.999, or
            few steps), where crafting moves nothing and says so.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting's value cannot be, or two exclude each other.
    """

    attack: "BatchAttack"
    poison_fraction: float | None = setting(
        None, "Share of poisons; unset: the attack's own.", above=0, maximum=1
    )
    target_selection: str = setting("share", "How batches are split.", choices=TARGET_SELECTIONS)
    warmup_epochs: int = setting(0, "Epochs without crafting.", minimum=0)
    matching: str = setting(
        "global", "Whether replicas craft together.", choices=MATCHING, flag="matching"
    )
    batch_statistics: bool = setting(
        False, "Craft with the statistics of the batch where BatchNormalization's moving ones lag."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.poison_fraction is not None and self.target_selection != "share":
            raise ValueError(
                '`poison_fraction` goes with target_selection="share" alone. Received: '
                f"poison_fraction={self.poison_fraction!r}, "
                f"target_selection={self.target_selection!r}"
            )
        self.attack.check_split(self.target_selection, self.poison_fraction)

    @property
    def share(self) -> float:
        """The share of poisons, the attack's own where none is given."""
        own = self.attack.poison_fraction
        return float(own if self.poison_fraction is None else self.poison_fraction)

    @classmethod
    def of(
        cls, attack: "str | BatchAttack | Crafting | None", **settings: Any
    ) -> "Crafting | None":
        """Returns what is crafted; None where there is no attack.

        Args:
            attack: an attack or its name, several names with `+` between, None for none, or a
                `Crafting`, which is returned.
            **settings: those of this class, and with an attack's name those of the attack.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a value cannot be, or one differs from its default without an attack.
        """
        if isinstance(attack, Crafting) and not settings:
            return attack
        step = {name: settings.pop(name) for name in STEP_SETTINGS if name in settings}
        found: BatchAttack | None = ATTACKS.get(attack, **settings)
        if found is not None:
            return cls(found, **step)
        given = [f"{name}={step[name]!r}" for name in step if step[name] != STEP_SETTINGS[name]]
        if given:
            raise ValueError(
                "Expected no settings of crafting with attack=None: nothing is crafted. Received: "
                f"{', '.join(given)}"
            )
        return None

    def combine(self, other: "Crafting") -> "Crafting":
        """Returns both: each attack on its half of every batch, with the share of poisons it has.

        Raises:
            ValueError: they differ in what is said of the training step.
        """
        from tfpoison.attacks.composite_attack import CompositeAttack

        steps = [
            {name: getattr(each, name) for name in STEP_SETTINGS if name != "poison_fraction"}
            for each in (self, other)
        ]
        if differ := [name for name in steps[0] if steps[0][name] != steps[1][name]]:
            raise ValueError(
                "Expected attacks in one batch to agree on the training step. Received: "
                + ", ".join(f"{name}={steps[0][name]!r} and {steps[1][name]!r}" for name in differ)
            )
        parts = [
            part
            if each.poison_fraction is None
            else dataclasses.replace(part, poison_fraction=each.share)
            for each in (self, other)
            for part in each.attack.parts
        ]
        return type(self)(CompositeAttack.of(*parts), **steps[0])


# What a training step is told about crafting beside the attack, with the defaults.
STEP_SETTINGS: dict[str, Any] = {each.name: each.default for each in declared(Crafting)}
