"""What recipes can be told. Nothing heavy is imported."""

import dataclasses

from tfpoison.settings import Settings, setting

TARGET_LOSSES = ("cross_entropy", "carlini_wagner")
SELECTIONS = ("random", "gradient_norm")


@dataclasses.dataclass(frozen=True)
class SelectionSettings(Settings):
    """What every recipe can be told."""

    selection: str = setting(
        "random",
        "Which images are poisoned: of the largest gradient norm, or any.",
        choices=SELECTIONS,
        flag="poison_selection",
    )


@dataclasses.dataclass(frozen=True)
class RecipeSettings(SelectionSettings):
    """What recipes that optimise can be told, with the values of arXiv 2102.13624, section 4."""

    epsilon: float = setting(
        16 / 255,
        "ε, a share of the pixel range as 8/255; of watermark the opacity.",
        minimum=0,
        maximum=1,
    )
    steps: int = setting(250, "Steps of the optimizer.", minimum=1, flag="brew_steps")
    step_size: float | None = setting(
        None, "As --defense_step_size.", above=0, flag="brew_step_size"
    )
    optimizer: str = setting(
        "sign_adam",
        "What moves the perturbation.",
        choices="tfpoison.perturbations:OPTIMIZERS",
        flag="brew_optimizer",
    )
    initializer: str = setting(
        "normal",
        "Where the perturbation starts.",
        choices="tfpoison.perturbations:INITIALIZERS",
        flag="brew_initializer",
    )
    restarts: int = setting(8, "Brewings, of which the best is kept.", minimum=1)
    augmentation: str = setting(
        "shift_flip",
        "How poisons are augmented while they are crafted.",
        choices="tfpoison.data:AUGMENTATIONS",
        expressions=True,
        flag="brew_augmentation",
    )
    target_loss: str = setting(
        "cross_entropy", "What the targets are to lose.", choices=TARGET_LOSSES
    )
    batch_size: int = setting(
        512, "The most poisons crafted as one.", minimum=1, flag="brew_batch_size"
    )
    surrogates: int = setting(1, "Networks crafted against.", minimum=1, maximum=1000)
    staggered: bool = setting(False, "Surrogates stop at different epochs.")
    retrainings: int = setting(0, "Trainings of surrogates anew while brewing.", minimum=0)
