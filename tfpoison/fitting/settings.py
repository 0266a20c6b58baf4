"""The settings that jobs share, in groups; each is checked where it is made."""

import dataclasses
from typing import Any

import keras

from tfpoison import data, networks
from tfpoison.checks import check_name, check_number
from tfpoison.data import Description, Examples, ImageClassification, KeepList

# TensorFlow counts in 32 bits.
LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """Which images are trained on, and in what batches; see `tfpoison.data.load`.

    Attributes:
        keep_list: a file of `KeepList`: training images that are not on it are left out.
        train_ids: images that a subset to train on holds in any case.
        validation_ids: images that a subset to validate on holds in any case.
    """

    dataset: str = "digits"
    data_dir: str | None = None
    download: bool = False
    image_size: tuple[int, int] | None = None
    train_size: int | None = None
    validation_size: int | None = None
    balanced: bool = False
    subset_seed: int = 0
    augmentation: str = "none"
    batch_size: int = 128
    keep_list: str | None = None
    train_ids: tuple[int, ...] = ()
    validation_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_number("batch_size", self.batch_size, minimum=1, maximum=LARGEST, whole=True)
        check_name("augmentation", self.augmentation, data.augmentation.names())

    @property
    def source(self) -> dict[str, Any]:
        """The arguments of `tfpoison.data.load`."""
        return {
            "name": self.dataset,
            "data_dir": self.data_dir,
            "download": self.download,
            "image_size": self.image_size,
            "train_size": self.train_size,
            "validation_size": self.validation_size,
            "balanced": self.balanced,
            "seed": self.subset_seed,
            "train_ids": self.train_ids,
            "validation_ids": self.validation_ids,
        }

    def load(self, **changes: Any) -> ImageClassification:
        """Returns the images, without those that the keep-list leaves out.

        Args:
            changes: other arguments of `tfpoison.data.load` than `source`.
        """
        images = data.load(**(self.source | changes))
        return dataclasses.replace(images, train=self.kept(images.train))

    def kept(self, train: Examples) -> Examples:
        """Returns the training images that are on the keep-list; all where there is none."""
        return train if self.keep_list is None else KeepList.load(self.keep_list).select(train)

    def check(self, **changes: Any) -> Description:
        """Raises what `load` would raise, as far as can be told without reading images."""
        description = data.check(**(self.source | changes))
        if self.keep_list is not None:
            files = data.file_names(self.dataset, data_dir=self.data_dir)
            KeepList.load(self.keep_list).check(description.train_ids, files)
        return description


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """Which network is trained; see `tfpoison.networks.get`."""

    network: str = "convnet_small"
    width: int | None = None
    batch_normalization: bool | None = None

    def __post_init__(self) -> None:
        self.check()

    def check(self, image_shape: tuple[int, int, int] | None = None, classes: int = 2) -> None:
        """Raises ValueError where there is no such network for such images."""
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
class TrainingSettings:
    """How the network is trained.

    Attributes:
        epochs: the number of epochs.
        optimizer: a name of `keras.optimizers`.
        learning_rate: the rate at the start.
        momentum: for optimizers that have it (sgd, rmsprop).
        nesterov: whether the momentum is Nesterov's; for sgd.
        weight_decay: for adamw, lion, lamb and muon their own decoupled decay; for all others an
            L2 penalty on all weights, ½ · weight_decay · ‖θ‖², as `weight_decay` of PyTorch's SGD.
        schedule: `"constant"`, `"steps"` (times `decay` at each milestone) or `"cosine"` (to 0).
        milestones: epochs at which the rate falls; for `"steps"`.
        decay: the factor of each fall.
        clipnorm: the norm that the gradient is clipped to as a whole; None for no clipping.
        label_smoothing: from 0 to 1, 1 excluded.
        precision: a Keras dtype policy.
        jit_compile: whether XLA compiles the step; None leaves it to Keras.
        steps_per_execution: steps between two looks of Keras at the training.
        deterministic: whether GPU operations are made deterministic; those of a CPU are.
        strategy: a name of `tfpoison.distribution`.
        seed: of weights, order, augmentation, dropout and poisons.
    """

    epochs: int = 10
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: str = "constant"
    milestones: tuple[int, ...] = ()
    decay: float = 0.1
    clipnorm: float | None = None
    label_smoothing: float = 0.0
    precision: str = "float32"
    jit_compile: bool | None = None
    steps_per_execution: int = 1
    deterministic: bool = False
    strategy: str = "default"
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, minimum=1, maximum=LARGEST, whole=True)
        check_number("seed", self.seed, minimum=0, maximum=LARGEST, whole=True)
        check_number(
            "steps_per_execution", self.steps_per_execution, minimum=1, maximum=LARGEST, whole=True
        )
        check_number("label_smoothing", self.label_smoothing, minimum=0, maximum=0.999)
        policies = ("float32", "mixed_float16", "mixed_bfloat16")
        check_name("precision", self.precision, policies)

    def loss(self, *, one_hot: bool) -> keras.losses.Loss:
        """Returns cross-entropy on logits, with the label smoothing asked for.

        Args:
            one_hot: whether labels are one-hot, which label smoothing asks for as well.
        """
        if one_hot or self.label_smoothing:
            return keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=self.label_smoothing
            )
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
