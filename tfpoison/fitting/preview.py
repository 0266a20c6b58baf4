"""A picture of what the training does to its images."""

from typing import Any

import keras
import numpy as np

from tfpoison.report import pictures
from tfpoison.report.training import PREVIEW
from tfpoison.runs.run_directory import RunDirectory


class Preview(keras.callbacks.Callback):
    """Draws a batch as the model crafts it: clean, perturbation enlarged, poisoned.

    It is drawn when crafting has started and again at the end, against the weights of that moment.

    Args:
        images: (n, height, width, channels) in [0, 1], with labels as the model is trained with.
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
            self._directory.write_bytes(PREVIEW, draw_crafted(*map(np.asarray, crafted)))
            self._drawn = True


def draw_crafted(clean: np.ndarray, poisoned: np.ndarray, is_poison: np.ndarray) -> bytes:
    """Returns a PNG of images before and after crafting, with the perturbation between, enlarged.

    Args:
        clean: (n, height, width, channels) in [0, 1], and so poisoned.
        is_poison: which of them are poisons, (n,).
    """
    # A quarter of the picture are targets, where there are both.
    poisons, targets = np.flatnonzero(is_poison), np.flatnonzero(~is_poison)
    shown = [*poisons[: pictures.MOST_ABREAST - min(len(targets), 1)], *targets]
    names = ["poison" if is_poison[each] else "target" for each in shown]
    picture, told = pictures.draw_change(clean[shown], poisoned[shown], names, what="trained on")
    return pictures.png(picture, f"Images of a batch, as they were and as trained on. {told}")
