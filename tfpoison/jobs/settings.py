"""What a job can be told beside data, network, training and threat. Nothing heavy is imported."""

import dataclasses

from tfpoison.attacks.zoo import ATTACKS, DEFAULT
from tfpoison.defenses.filters.table import IN_AUDITS
from tfpoison.perturbations.table import INITIALIZERS, OPTIMIZERS
from tfpoison.recipes.scenario import SCENARIOS
from tfpoison.recipes.table import EXPORTS, RECIPES
from tfpoison.settings import Settings, setting

ADVERSARIES = ("standard", "adaptive")


@dataclasses.dataclass(frozen=True)
class JobSettings(Settings):
    """What is done."""

    job: str = setting("train", "What to do; see --help.")
    plugin: tuple[str, ...] = setting(
        (), "Python modules to import first, which register parts of one's own."
    )


@dataclasses.dataclass(frozen=True)
class OutputSettings(Settings):
    """Where results go, and what is told meanwhile."""

    output_dir: str | None = setting(None, "Where all results go; resumes what is there.")
    checkpoint_seconds: float = setting(
        300.0, "Between checkpoints in an epoch; 0: epochs' ends.", minimum=0
    )
    verbosity: int = setting(0, "Below 0: no progress, no report, errors alone.")


@dataclasses.dataclass(frozen=True)
class PoisonsSettings(Settings):
    """Which poisons the training set holds."""

    poisons: str | None = setting(
        None, "A file of poisons, as --job=brew leaves it, to put into the training set."
    )


@dataclasses.dataclass(frozen=True)
class DefenseSettings(Settings):
    """What a training is defended by: the attack crafted inside the step, where it is crafted."""

    defense: str = setting(
        "none", "NAME, NAME(setting=value;setting=value), or several with + between."
    )
    attack: str = setting(DEFAULT, "What is crafted inside the step.", choices=ATTACKS)
    epsilon: float | None = setting(None, "ε, a share of the pixel range as 8/255; unset: 16/255.")
    steps: int | None = setting(None, "Crafting steps; unset: the attack's own.")
    step_size: float | None = setting(None, "Share of the range (Adams) or of ε.")
    optimizer: str | None = setting(None, "What moves the perturbation.", choices=OPTIMIZERS)
    initializer: str | None = setting(None, "Where the perturbation starts.", choices=INITIALIZERS)
    patch_size: int | None = setting(None, "Pixels, for patches of class.")


@dataclasses.dataclass(frozen=True)
class AdversarySettings(Settings):
    """How poisons are made, and what is known to who makes them."""

    recipes: tuple[str, ...] = setting(
        ("gradient_matching",), "How poisons are made.", choices=RECIPES, expressions=True
    )
    scenarios: tuple[str, ...] = setting(
        ("from_scratch",), "What victims start from.", choices=SCENARIOS
    )
    adversaries: tuple[str, ...] = setting(
        ("standard",),
        "Whether surrogates are trained without a defense, or with the one under test.",
        choices=ADVERSARIES,
    )
    setups: str | None = setting(
        None, "Published set-ups of the poisoning benchmark; trial N has the Nth."
    )


@dataclasses.dataclass(frozen=True)
class ExperimentSettings(Settings):
    """The size of an experiment."""

    defenses: tuple[str, ...] = setting(
        ("none", DEFAULT),
        "Columns beside the undefended one: each as --defense, or the attack that adversarial "
        "poisoning crafts.",
    )
    trials: int = setting(10, "Trials, each with a threat of its own.", minimum=1, maximum=100_000)
    victims: int = setting(1, "Victims trained on each poisoning.", minimum=1, maximum=100_000)
    adversaries_per_trial: tuple[int, ...] = setting(
        (1,),
        "Adversaries of each recipe in one training, each with its own target, class and images: "
        "a number for all recipes, or one for each.",
        minimum=1,
        maximum=1000,
    )
    share_training: bool = setting(False, "Train on the poisons of all recipes together.")
    repairs: tuple[str, ...] = setting(
        (),
        "Methods of repair, as --repair, that every victim gets after its training; each is a "
        "column beside the victim's.",
    )
    repair_images: int = setting(
        500, "Clean images of the validation split for repairs; the rest measure.", minimum=10
    )


@dataclasses.dataclass(frozen=True)
class BrewingSettings(Settings):
    """Which poisons are brewed, and in what form they are written."""

    trial: int = setting(0, "The trial whose poisons are made.", minimum=0)
    export: tuple[str, ...] = setting((), "Forms beside the file of poisons.", choices=EXPORTS)


@dataclasses.dataclass(frozen=True)
class AuditSettings(Settings):
    """How a training set is looked through."""

    filters: tuple[str, ...] = setting(
        IN_AUDITS,
        "Filters with commas between, each with settings as --defense.",
    )
    agreement: int = setting(
        2, "Filters that must suspect an image for the keep-list to leave it out.", minimum=1
    )
    known_poisons: str | None = setting(
        None, "A CSV file of the poisons in the data, by id or file, to measure filters by."
    )


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings(Settings):
    """What is timed."""

    attacks: tuple[str, ...] = setting(
        (DEFAULT, "gradient_matching", "gradient_matching_fast", "evasion"),
        "Attacks to measure, or all.",
    )
    steps: int = setting(20, "Steps of each kind to time.", minimum=1)
    image_shape: tuple[int, int, int] = setting(
        (32, 32, 3), "HEIGHT,WIDTH,CHANNELS.", minimum=1, maximum=2**15
    )
