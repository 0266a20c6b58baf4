"""What `RobustModel.fit` does between epochs and batches."""

import warnings

import keras

from tfpoison.training.batch_check import ADVICE, TOLERATED_OVERSHOOT

# An objective that changes by less than this share of itself stands still: where crafting works it
# changes by a hundredth and more.
_LEAST_CHANGE = 1e-5
# Pixels that use less of the range than this were most likely scaled otherwise.
_LEAST_USE_OF_RANGE = 1 / 64
_CAUSES = (
    "Causes to look for: BatchNormalization whose moving statistics lag behind the training, so "
    "that in inference its outputs hardly depend on the images (momentum 0.999; give it 0.9, or "
    "RobustModel(..., batch_statistics=True)); frozen layers that were never trained; outputs so "
    "sure that no gradient is left (train on logits, from_logits=True); layers without a gradient "
    "by the images; a step_size too large, or for momentum too small."
)


def crafting_callbacks(warmup_epochs: int) -> list[keras.callbacks.Callback]:
    """Returns what goes with every `fit` that crafts."""
    checks = [PixelRangeCheck(), OtherClassesCheck(), CraftingCheck()]
    return [CraftingSchedule(warmup_epochs), *checks]


class CraftingSchedule(keras.callbacks.Callback):
    """Turns crafting on after the warm-up epochs, as `fit` counts them.

    Another training function is taken where crafting starts or stops: a warm-up epoch costs no more
    than plain training, and the objective on its first batch.
    """

    def __init__(self, warmup_epochs: int):
        super().__init__()
        self.warmup_epochs = warmup_epochs
        self._first_epoch: int | None = None
        self._crafted = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Switches crafting on or off for this epoch."""
        crafts = epoch >= self.warmup_epochs
        self.model.set_crafting(crafts)
        self._crafted |= crafts
        if self._first_epoch is None:
            self._first_epoch = epoch

    def on_train_end(self, logs: dict | None = None) -> None:
        """Warns of a training that ended before its first crafting."""
        # Who starts at a later epoch goes on with a training, and may do so again.
        if self._first_epoch == 0 and not self._crafted:
            warnings.warn(
                "Nothing was crafted in this `fit`: it ended within the warm-up of "
                f"{self.warmup_epochs} epochs, which each `fit` counts anew. A `fit` that goes on "
                "with a training says so: fit(..., initial_epoch=..., epochs=...).",
                stacklevel=2,
            )


class _WarnsOnce(keras.callbacks.Callback):
    """A callback that says something once in a `fit`."""

    def __init__(self) -> None:
        super().__init__()
        self.warned = False

    def warn(self, text: str) -> None:
        if not self.warned:
            self.warned = True
            warnings.warn(text, stacklevel=3)


class PixelRangeCheck(keras.callbacks.Callback):
    """Looks at the pixels of the first batch that poisons are crafted for."""

    def __init__(self) -> None:
        super().__init__()
        self._checked = False

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Raises ValueError where the pixels seen lie outside the model's pixel range."""
        if self._checked or not self.model.crafting:
            return
        self._checked = True
        lowest, highest = (float(each) for each in self.model.seen_pixels())
        seen = (
            f"pixel_range={self.model.pixels.get_config()}; the first batch's pixels lie from "
            f"{lowest:.3g} to {highest:.3g} in shares of it"
        )
        if lowest < -TOLERATED_OVERSHOOT or highest > 1 + TOLERATED_OVERSHOOT:
            raise ValueError(f"Expected pixels within the pixel range. Received: {seen}. {ADVICE}")
        if highest - lowest < _LEAST_USE_OF_RANGE:
            warnings.warn(f"The pixels hardly use the pixel range: {seen}. {ADVICE}", stacklevel=2)


class OtherClassesCheck(_WarnsOnce):
    """Looks whether an epoch's targets met poisons of other classes than theirs."""

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Looks before the validation, which starts the count anew."""
        self.on_epoch_end(0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Warns where most targets met none."""
        share = float(self.model.share_of_no_other_class())
        if share > 0.5:
            self.warn(
                f"{share:.0%} of the targets met no poison of another class, so that there was "
                "hardly an attack to craft. Shuffle the data, if they are sorted by class; if one "
                "class is much more frequent than the others, take larger batches or balance the "
                "classes."
            )


class CraftingCheck(_WarnsOnce):
    """Warns where crafting does not lower the attack's objective: nothing is defended then.

    An objective that stands still on a network that is not yet trained may move later, and one that
    rises may do so by chance: the first tells from the second epoch on, the second where none has
    fallen in three epochs, or in all of a shorter `fit` of two.
    """

    def __init__(self) -> None:
        super().__init__()
        self._measured: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Compares the objective before and after crafting."""
        attack, logs = self.model.attack, logs or {}
        tries = attack is not None and attack.moves
        if not tries or not self.model.crafting or "objective_before" not in logs:
            return
        self._measured.append((float(logs["objective_before"]), float(logs["objective_after"])))
        count = len(self._measured)
        if (count > 1 and _stands_still(*self._measured[-1])) or (count == 3 and self._failed()):
            self._tell()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Looks at a training of one or two epochs."""
        alone = len(self._measured) == 1 and _stands_still(*self._measured[0])
        if alone or (len(self._measured) == 2 and self._failed()):
            self._tell()

    def _failed(self) -> bool:
        return all(
            after >= before or _stands_still(before, after) for before, after in self._measured
        )

    def _tell(self) -> None:
        seen = ", ".join(f"{before:.6g} → {after:.6g}" for before, after in self._measured[-3:])
        self.warn(
            "Crafting does not lower its objective: the training is hardly defended, or not at "
            f"all. Seen on the first batch of an epoch, before → after: {seen}. {_CAUSES}"
        )


def _stands_still(before: float, after: float) -> bool:
    return abs(before - after) <= _LEAST_CHANGE * max(abs(before), abs(after))
