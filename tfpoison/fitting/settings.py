"""The settings that jobs share, in groups; each is checked where it is made."""

import dataclasses
from typing import TYPE_CHECKING, Any

from tfpoison.choices import STRATEGIES
from tfpoison.data.selection import Selection
from tfpoison.settings import Settings, setting

if TYPE_CHECKING:
    import keras

SCHEDULES = ("constant", "steps", "cosine", "triangle")
# These define weight decay as apart from the gradient; for the others it is an L2 penalty.
DECOUPLED_DECAY = ("adamw", "lion", "lamb", "muon")


@dataclasses.dataclass(frozen=True)
class DataSettings(Selection):
    """Which images are trained on, and in what batches."""

    augmentation: str = setting(
        "none",
        "How training images are augmented: NAME, or NAME(setting=value;setting=value).",
        choices="tfpoison.data:AUGMENTATIONS",
        expressions=True,
    )
    batch_size: int = setting(128, "Images of a step, over all replicas.", minimum=1)


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Settings):
    """Which network is trained; see `tfpoison.networks.get`."""

    network: str = setting(
        "convnet_small", "A network, as resnet18, or of keras.applications, as EfficientNetB0."
    )
    width: int | None = setting(None, "Channels of the first block; unset: as published.")
    batch_normalization: bool | None = setting(
        None, "For networks that leave the choice: convnet, mlp."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()

    def check(self, image_shape: tuple[int, int, int] | None = None, classes: int = 2) -> None:
        """Raises ValueError where there is no such network for such images."""
        from tfpoison import networks

        networks.check(image_shape=image_shape, classes=classes, **self.choice)

    @property
    def choice(self) -> dict[str, Any]:
        """The arguments of `tfpoison.networks.get` that choose the network."""
        return {
            "name": self.network,
            "width": self.width,
            "batch_normalization": self.batch_normalization,
        }


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Settings):
    """How the network is trained."""

    epochs: int = setting(10, "Epochs.", minimum=1)
    optimizer: str = setting("sgd", "A name of keras.optimizers in lower case, as adamw.")
    learning_rate: float = setting(0.1, "Learning rate, the largest one of a schedule.", above=0)
    momentum: float | None = setting(None, "For sgd and rmsprop.", minimum=0, maximum=1)
    nesterov: bool = setting(False, "Nesterov's momentum, for sgd.")
    weight_decay: float = setting(
        0.0,
        f"Decoupled for {', '.join(DECOUPLED_DECAY)}; for the others an L2 penalty on all weights, "
        "½ · weight_decay · ‖θ‖², as weight_decay of PyTorch's SGD.",
        minimum=0,
    )
    schedule: str = setting(
        "constant",
        "How the learning rate falls: times decay at each milestone (steps), to 0 (cosine), or "
        "after it has risen for a quarter of the training (triangle).",
        choices=SCHEDULES,
    )
    milestones: tuple[int, ...] = setting((), "Epochs at which the rate falls, for steps.")
    decay: float = setting(0.1, "Factor of each fall, for steps.", above=0, maximum=1)
    clipnorm: float | None = setting(None, "Norm that the whole gradient is clipped to.", above=0)
    label_smoothing: float = setting(0.0, "From 0 to below 1.", minimum=0, maximum=0.999)
    precision: str = setting(
        "float32",
        "Keras's dtype policy.",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    jit_compile: bool | None = setting(None, "Compile the step with XLA; unset: Keras decides.")
    steps_per_execution: int = setting(1, "Steps between two looks of Keras.", minimum=1)
    deterministic: bool = setting(
        False, "Deterministic GPU operations, which are slower; those of a CPU are so anyway."
    )
    strategy: str = setting("default", "Strategy of tf.distribute.", choices=STRATEGIES)
    seed: int = setting(0, "Of weights, order, augmentation, dropout and poisons.", minimum=0)

    def loss(self, *, one_hot: bool) -> "keras.losses.Loss":
        """Returns cross-entropy on logits; label smoothing asks for one-hot labels as well."""
        import keras

        if one_hot or self.label_smoothing:
            return keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=self.label_smoothing
            )
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
