"""What there is to tell of one training: figures for a file, and lines for people."""

from typing import Any

import numpy as np

from tfpoison import files
from tfpoison.data import ImageClassification
from tfpoison.evaluation import Predictor, accuracy, poison_success
from tfpoison.fitting.training_set import TrainingSet
from tfpoison.notes import decimal
from tfpoison.recipes import Poisons
from tfpoison.report.training import PAGE, PREVIEW, REPORT
from tfpoison.runs.checkpoint import METRICS
from tfpoison.runs.run_directory import CONFIGURATION, TENSORBOARD, RunDirectory

NETWORK = "network.keras"


def figures(
    predictor: Predictor,
    evaluated: dict[str, float],
    images: ImageClassification,
    left: TrainingSet,
    poisons: Poisons | None,
) -> dict[str, Any]:
    """Returns the figures of a trained network.

    Args:
        evaluated: its loss and accuracy on the validation images.
        images: the data set, with the poisons in it.
        left: what the defense has left of the training images.
    """
    report: dict[str, Any] = {
        "clean_accuracy": float(evaluated["accuracy"]),
        "validation_loss": float(evaluated["loss"]),
        "validation_examples": images.validation.size,
        "training_examples": images.train.size,
        "weights": int(predictor.network.count_params()),
    }
    if left.may_change:
        report["removed_examples"] = images.train.size - len(left.kept)
    if poisons is not None:
        threat = poisons.threat
        targets = predictor.probabilities(threat.target_images(images.validation))
        report |= {
            "poisons": int(np.isin(poisons.ids, images.train.ids).sum()),
            "targets": len(targets),
            "target_class": threat.target_name(images.class_names),
            "adversarial_class": images.class_names[threat.adversarial_class],
            "poison_success": poison_success(targets, threat.adversarial_class),
            "robust_accuracy": accuracy(targets, threat.target_labels(images.validation)),
            "target_confidence": float(targets[:, threat.adversarial_class].mean()),
        }
        if left.may_change:
            kept_ids = images.train.ids[left.kept]
            report["removed_poisons"] = int((~np.isin(poisons.ids, kept_ids)).sum())
    return report


def describe_finished(directory: RunDirectory) -> str:
    """Returns the report of a finished run; ValueError where its files or network are damaged."""
    network, finished = directory.path / NETWORK, directory.path / REPORT
    if network.exists():
        remedy = f"Remove it and {REPORT}: it is made again from the last checkpoint."
        with files.read_back(network, remedy):
            files.check_archive(network)
    with files.read_back(finished, "Remove it: the network is evaluated again."):
        return describe(files.read_json(finished), directory)


def describe(report: dict[str, Any], directory: RunDirectory) -> str:
    """Returns the report as a person reads it, and what the directory holds."""
    defended = "undefended"
    if report["defense"] != "none":
        defended = f"defended by {report['defense']}"
    lines = [
        "",
        f"{report['network']} ({report['weights']:,} weights), {defended}, "
        f"{report['epochs']} epochs on {report['training_examples']:,} images",
        f"clean accuracy   {report['clean_accuracy']:.4f}  "
        f"(on {report['validation_examples']:,} validation images)",
        f"validation loss  {decimal(report['validation_loss'], 4)}",
    ]
    if "poisons" in report:
        lines.append(
            f"poison success   {report['poison_success']:.4f}  (the share of {report['targets']} "
            f"target(s) of class {report['target_class']} called {report['adversarial_class']}; "
            f"confidence {decimal(report['target_confidence'], 4)}; {report['poisons']} poisons)"
        )
    if "removed_examples" in report:
        poisons = f", {report['removed_poisons']} poisons" if "removed_poisons" in report else ""
        lines.append(f"removed          {report['removed_examples']} training images{poisons}")
    lines += ["", f"Written to {directory.path}:"]
    contents = {
        NETWORK: "the trained network, for keras.models.load_model",
        METRICS: "loss, accuracy and the attack's objective, epoch by epoch",
        PAGE: "all of this as a page, with curves and images",
        PREVIEW: "a batch from inside the training: clean, perturbation, poisoned",
        TENSORBOARD: f"for tensorboard --logdir {directory.path}",
        CONFIGURATION: "all flags; --flagfile with it repeats this run",
        REPORT: "these figures",
    }
    for name, what in contents.items():
        if (directory.path / name).exists():
            lines.append(f"  {name:<14} {what}")
    return "\n".join(lines)
