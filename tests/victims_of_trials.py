"""Records as an experiment writes them."""


def record(trial=0, **changes):
    return {
        "recipe": "gradient_matching",
        "scenario": "from_scratch",
        "adversary": "standard",
        "defense": "none",
        "trial": trial,
        "victim": 0,
        "success": 1.0,
        "clean_accuracy": 0.6,
        "target_class_accuracy": 0.5,
        "poison_class_accuracy": 0.7,
        "target_confidence": 0.8,
        "success_without_poisons": 0.0,
        "seconds": {"surrogates": 80.0, "brewing": 20.0, "training": 10.0},
        **changes,
    }


def trials(successes, **changes):
    return [record(trial, success=success, **changes) for trial, success in enumerate(successes)]
