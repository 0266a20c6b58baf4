"""Optimizers and learning-rate schedules from settings."""

import inspect
from typing import Any

import keras

from tfpoison.checks import check_name
from tfpoison.defenses import Defense
from tfpoison.fitting.settings import DECOUPLED_DECAY, TrainingSettings

OPTIMIZERS = {
    name.lower(): kind
    for name, kind in vars(keras.optimizers).items()
    if inspect.isclass(kind)
    and issubclass(kind, keras.optimizers.Optimizer)
    and "learning_rate" in inspect.signature(kind.__init__).parameters
    and name != "Optimizer"
}


@keras.saving.register_keras_serializable("tfpoison")
class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises from 20 % over the first 23 % of the steps, then falls to 0.

    Source: arXiv 2404.00498, whose numbers these are, but that it averages weights at the end and
    falls to 7 %.

    Args:
        rate: the largest rate.
        steps: those of the whole training.
    """

    _START, _PEAK = 0.2, 0.23

    def __init__(self, rate: float, steps: int):
        self.rate, self.steps = rate, steps

    def __call__(self, step: Any) -> Any:
        share = keras.ops.cast(step, "float32") / self.steps
        rising = self._START + (1 - self._START) * share / self._PEAK
        falling = (1 - share) / (1 - self._PEAK)
        return self.rate * keras.ops.minimum(rising, falling)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, as Keras saves them."""
        return {"rate": self.rate, "steps": self.steps}


def check(settings: TrainingSettings, defense: Defense) -> None:
    """Raises ValueError or TypeError where a training cannot be so, or not so defended."""
    defense.optimizer(make_optimizer(settings, batches_per_epoch=1))
    defense.check_epochs(settings.epochs)


def make_optimizer(
    settings: TrainingSettings, batches_per_epoch: int
) -> keras.optimizers.Optimizer:
    """Returns the optimizer with its learning-rate schedule.

    Raises:
        ValueError: a name is unknown, or the optimizer has no such setting.
    """
    check_name("optimizer", settings.optimizer, OPTIMIZERS)
    if settings.nesterov and not settings.momentum:
        raise ValueError("Expected a momentum above 0 beside nesterov. Received: none")
    kind = OPTIMIZERS[settings.optimizer]
    given = {
        "learning_rate": make_schedule(settings, batches_per_epoch),
        "global_clipnorm": settings.clipnorm,
        "momentum": settings.momentum,
        "nesterov": settings.nesterov or None,
    }
    arguments = {name: value for name, value in given.items() if value is not None}
    accepted = inspect.signature(kind.__init__).parameters
    if settings.optimizer in DECOUPLED_DECAY:
        # Some of these decay unasked, Muon by one number for matrices and another for the rest.
        names = [each for each in ("weight_decay", "adam_weight_decay") if each in accepted]
        arguments |= dict.fromkeys(names, settings.weight_decay)
    for name in ("momentum", "nesterov"):
        if name in arguments and name not in accepted:
            raise ValueError(
                f"Expected no {name} with optimizer={settings.optimizer!r}, which has none. "
                f"Received: {name}={arguments[name]!r}"
            )
    return kind(**arguments)


def make_schedule(settings: TrainingSettings, batches_per_epoch: int) -> Any:
    """Returns the learning rate: a number, or a schedule over the steps."""
    rate = settings.learning_rate
    milestones = settings.milestones
    if (settings.schedule == "steps") != bool(milestones):
        raise ValueError(
            "Expected milestones with schedule='steps', and with it alone. Received: "
            f"schedule={settings.schedule!r}, milestones={list(milestones)}"
        )
    if settings.schedule != "steps" and settings.decay != TrainingSettings.decay:
        raise ValueError(
            "Expected decay with schedule='steps' alone. Received: "
            f"schedule={settings.schedule!r}, decay={settings.decay}"
        )
    if settings.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, settings.epochs * batches_per_epoch)
    if settings.schedule == "triangle":
        return Triangle(rate, settings.epochs * batches_per_epoch)
    if settings.schedule == "constant":
        return rate
    if list(milestones) != sorted(set(milestones)) or milestones[0] < 1:
        raise ValueError(
            f"Expected milestones to be rising epochs from 1. Received: {list(milestones)}"
        )
    # Keras keeps a value up to and including its boundary; the first step of an epoch is past it.
    boundaries = [epoch * batches_per_epoch - 1 for epoch in milestones]
    values = [rate * settings.decay**falls for falls in range(len(milestones) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


def last_learning_rate(settings: TrainingSettings, batches_per_epoch: int, epochs: int) -> float:
    """Returns the learning rate of a training's last step where it stops after these epochs."""
    schedule = make_schedule(settings, batches_per_epoch)
    return float(schedule(epochs * batches_per_epoch - 1) if callable(schedule) else schedule)


def add_weight_decay(network: keras.Model, settings: TrainingSettings) -> None:
    """Gives every trainable weight its L2 penalty, where the optimizer has no decay of its own."""
    if settings.weight_decay and settings.optimizer not in DECOUPLED_DECAY:
        for variable in network.trainable_variables:
            variable.regularizer = keras.regularizers.L2(settings.weight_decay / 2)
