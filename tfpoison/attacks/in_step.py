"""What a training step is told about crafting, checked before any training starts."""

from tfpoison.attacks.attack import Attack
from tfpoison.batch import check_split
from tfpoison.checks import check_bool, check_name, check_number
from tfpoison.distribution import MATCHING


def resolve_poison_fraction(
    attack: Attack | None,
    *,
    poison_fraction: float | None = None,
    target_selection: str = "share",
    warmup_epochs: int = 0,
    matching: str = "global",
    batch_statistics: bool = False,
) -> float:
    """Returns the share of each batch that is poisoned, after a look at all settings of the step.

    Args:
        attack: what is crafted in the step; None for no crafting.
        poison_fraction: the share that was asked for; None for the attack's own.
        target_selection: how batches are split; see `RobustModel`.
        warmup_epochs: the number of epochs without crafting.
        matching: whether replicas craft together.
        batch_statistics: whether BatchNormalization takes its statistics from what is crafted.

    Returns:
        A share above 0 and at most 1; 0 without an attack.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting's value cannot be, two exclude each other, or one differs from its
            default without an attack.
    """
    check_number("warmup_epochs", warmup_epochs, minimum=0, whole=True)
    check_name("matching", matching, MATCHING)
    check_bool("batch_statistics", batch_statistics)
    if attack is None:
        _check_no_crafting(
            poison_fraction=(poison_fraction, None),
            target_selection=(target_selection, "share"),
            warmup_epochs=(warmup_epochs, 0),
            matching=(matching, "global"),
            batch_statistics=(batch_statistics, False),
        )
        return 0.0
    if poison_fraction is not None and target_selection != "share":
        raise ValueError(
            '`poison_fraction` goes with target_selection="share" alone. Received: '
            f"poison_fraction={poison_fraction!r}, target_selection={target_selection!r}"
        )
    fraction = attack.poison_fraction if poison_fraction is None else poison_fraction
    check_split(target_selection, fraction, needs_targets=attack.needs_targets)
    if target_selection == "shuffled" and attack.perturbation.changes_targets:
        raise ValueError(
            "This attack changes the targets as well and trains on them, and with "
            'target_selection="shuffled" they are copies that are not trained on. Choose '
            f'"share" or "half". Received: attack={attack!r}'
        )
    return float(fraction)


def _check_no_crafting(**settings: tuple[object, object]) -> None:
    given = [f"{name}={value!r}" for name, (value, default) in settings.items() if value != default]
    if given:
        raise ValueError(
            "Expected no settings of crafting with attack=None: nothing is crafted. Received: "
            f"{', '.join(given)}"
        )
