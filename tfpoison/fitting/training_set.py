"""The training set as a defense leaves it: without suspects, and revised in mid-training."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from tfpoison import files
from tfpoison.checks import check_array
from tfpoison.data import Examples, InMemoryExamples
from tfpoison.defenses import Defense
from tfpoison.defenses.revisions.base import with_stand_ins
from tfpoison.evaluation import Predictor
from tfpoison.fitting.stream import Stream, fit_resumably
from tfpoison.runs.checkpoint import FILE, Checkpoint
from tfpoison.runs.run_directory import RunDirectory
from tfpoison.training import RobustModel

_SUSPECTS = "without_suspects.npz"


@dataclasses.dataclass(frozen=True)
class TrainingSet:
    """What is left of the examples, and how they look now.

    Attributes:
        kept: positions among the examples that there were at the start, ascending int64, (kept,).
        images: how all examples look now, dropped ones included, uint8 in 0–255, (size, H, W, C);
            None where they are as they were.
    """

    kept: np.ndarray
    images: np.ndarray | None = None

    @classmethod
    def whole(cls, examples: Examples) -> "TrainingSet":
        """Returns the training set before anything was done to it."""
        return cls(np.arange(examples.size))

    def without(self, dropped: np.ndarray) -> "TrainingSet":
        """Returns what is left without those that are marked, bool (size,)."""
        return TrainingSet(self.kept[~dropped[self.kept]], self.images)

    def examples(self, examples: Examples, seed: int) -> Examples:
        """Returns as many examples as there were at the start; see `with_stand_ins`."""
        if self.images is None and len(self.kept) == examples.size:
            return examples
        positions = with_stand_ins(self.kept, examples.size, seed)
        if self.images is None:
            return examples.select(positions)
        return InMemoryExamples(
            self.images[positions], examples.labels[positions], examples.ids[positions]
        )

    def save(self, directory: RunDirectory, name: str) -> None:
        """Writes it into a file, whole or not at all."""
        arrays = {"kept": self.kept}
        if self.images is not None:
            arrays["images"] = self.images
        directory.write_arrays(name, arrays)

    @classmethod
    def load(cls, directory: RunDirectory, name: str) -> "TrainingSet | None":
        """Returns what `save` wrote; None where there is nothing."""
        path = directory.path / name
        if not path.exists():
            return None
        remedy = "Remove it and the checkpoint beside it: the training starts again."
        with files.read_back(path, remedy):
            arrays = files.read_arrays(path)
            kept = arrays["kept"]
            check_array("kept", kept, np.int64, (None,), minimum=0, ascending=True)
            return cls(kept, arrays.get("images"))


def remove_suspects(
    defense: Defense,
    examples: Examples,
    checkpoint: Checkpoint,
    *,
    seed: int,
    train_plain: Callable[[Checkpoint], keras.Model],
) -> TrainingSet:
    """Returns the training set without those that the defense's filter suspects.

    Args:
        defense: the defense; without a filter nothing is removed.
        examples: the examples.
        checkpoint: of the training that follows; what is kept is remembered beside it.
        seed: of the filter.
        train_plain: trains an undefended network on all examples, given the checkpoint of that.

    Raises:
        ValueError: everything is suspected, the filter cannot inspect so few examples, or the
            defense revises examples that are on disk.
    """
    if defense.revision is not None and not examples.in_memory:
        raise ValueError(
            "Expected a data set of up to 2 GiB for a defense that revises all images during the "
            f"training. Received: {examples.size} images of {examples.image_shape} and "
            f"{defense.revision}. Give a smaller train_size or image_size."
        )
    whole = TrainingSet.whole(examples)
    if defense.filter is None:
        return whole
    left = TrainingSet.load(checkpoint.directory, _SUSPECTS)
    if left is None:
        defense.filter.check(examples.size)
        predictor = Predictor(train_plain(checkpoint.inner("plain")))
        features = predictor.features(examples)
        suspicion = defense.filter.inspect(features, examples.labels, seed)
        left = whole.without(suspicion.suspects)
        if not len(left.kept):
            raise ValueError(
                "Expected the filter to leave examples to train on. Received: all are suspects of "
                f"{defense.filter}"
            )
        left.save(checkpoint.directory, _SUSPECTS)
    return left


def fit_defended(
    model: RobustModel,
    defense: Defense,
    examples: Examples,
    left: TrainingSet,
    make_stream: Callable[[Examples], Stream],
    checkpoint: Checkpoint,
    callbacks: list[keras.callbacks.Callback],
    *,
    epochs: int,
    until_epoch: int,
    seed: int,
    validation: Examples | None = None,
    verbose: int = 0,
) -> TrainingSet:
    """Trains a model from where its checkpoint stands, and has the defense revise the training set.

    Args:
        model: the compiled model.
        defense: the defense.
        examples: the training set at the start.
        left: what is left of it before training.
        make_stream: returns the batches of examples.
        checkpoint: where it goes on from, and is saved.
        callbacks: other callbacks.
        epochs: the number of epochs of the whole training.
        until_epoch: the epoch to stop after.
        seed: of the revisions.
        validation: what `fit` evaluates on after every epoch.
        verbose: Keras's verbosity.

    Returns:
        The training set at the end.

    Raises:
        ValueError: the checkpoint is behind a revision whose outcome is gone.
    """
    revision = defense.revision
    revised_after = () if revision is None else revision.epochs(epochs)
    for stop in [*(each for each in revised_after if each < until_epoch), until_epoch]:
        # A checkpoint within the epoch that follows a revision is of the set that it has left.
        is_past = (checkpoint.epoch, checkpoint.batch) > (stop, 0)
        if not is_past:
            stream = make_stream(left.examples(examples, seed))
            evaluated = None if validation is None else stream.evaluation(validation)
            fit_resumably(
                model,
                stream,
                checkpoint,
                callbacks,
                epochs=stop,
                validation=evaluated,
                verbose=verbose,
            )
        if stop == until_epoch:
            break
        assert revision is not None
        name = f"revised_after_{stop}.npz"
        saved = TrainingSet.load(checkpoint.directory, name)
        if saved is None and is_past:
            raise ValueError(
                f"Expected {checkpoint.directory.path / name}: the training set as a revision left "
                "it, which the checkpoint goes on with. Received none. Put it back, or remove "
                f"{checkpoint.directory.path / FILE} to start again."
            )
        if saved is None:
            images = examples.images if left.images is None else left.images
            revised = revision.revise(model.network, images, examples.labels, seed + stop)
            saved = TrainingSet(left.kept, revised.images).without(~revised.kept)
            saved.save(checkpoint.directory, name)
        left = saved
    return left
