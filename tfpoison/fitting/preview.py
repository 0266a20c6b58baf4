"""A picture of what the training does to its images."""

from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from tfpoison.runs.run_directory import RunDirectory

FILE = "preview.png"
_MOST_IMAGES = 8


class Preview(keras.callbacks.Callback):
    """Draws a batch as the model crafts it: clean, perturbation enlarged, poisoned.

    It is drawn when crafting has started and again at the end, against the weights of that moment.

    Args:
        directory: where the picture is written.
        images: (n, height, width, channels) in [0, 1].
        labels: their labels, as the model is trained with.
    """

    def __init__(self, directory: RunDirectory, images: Any, labels: Any):
        super().__init__()
        self._directory = directory
        self._batch = images, labels
        self._drawn = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Draws the picture after the first epoch with crafting, and after the last epoch."""
        last = epoch + 1 == self.params["epochs"]
        if self.model.crafting and (last or not self._drawn):
            crafted = self.model.craft(*self._batch)
            figure = draw_crafted(*(np.asarray(each) for each in crafted))
            self._directory.write(FILE, lambda file: figure.savefig(file, format="png", dpi=120))
            self._drawn = True


def draw_crafted(clean: np.ndarray, poisoned: np.ndarray, is_poison: np.ndarray) -> Figure:
    """Draws images before and after crafting, with the perturbation between, enlarged.

    Args:
        clean: (n, height, width, channels) in [0, 1].
        poisoned: the same images after crafting.
        is_poison: which of them are poisons, (n,).
    """
    # Poisons and targets side by side: half of the picture each where there are both.
    poisons, targets = np.flatnonzero(is_poison), np.flatnonzero(~is_poison)
    shown = [*poisons[: _MOST_IMAGES - min(len(targets), _MOST_IMAGES // 4)], *targets]
    shown = shown[:_MOST_IMAGES]
    perturbation = (poisoned - clean)[shown]
    largest = float(np.abs(perturbation).max()) or 1.0
    rows = [
        ("clean", clean[shown]),
        (f"perturbation\n× {0.5 / largest:.3g}", 0.5 + perturbation / (2 * largest)),
        ("trained on", poisoned[shown]),
    ]
    figure = Figure(figsize=(1.1 * len(shown) + 1, 3.8), layout="constrained")
    axes = figure.subplots(len(rows), len(shown), squeeze=False)
    for row, (title, images) in enumerate(rows):
        for column, image in enumerate(np.clip(images, 0, 1)):
            axis = axes[row, column]
            grey = image.shape[-1] == 1
            axis.imshow(image[..., 0] if grey else image, cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title("poison" if is_poison[shown[column]] else "target", fontsize=9)
        axes[row, 0].set_ylabel(title, fontsize=9)
    return figure
