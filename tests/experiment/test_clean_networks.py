"""Clean networks: what they are trained with, and what they tell of possible targets."""

import numpy as np
import pytest
from clean_networks_of_tests import make_clean_networks, make_images, make_reader

from tfpoison.experiment.clean_networks import (
    CleanNetwork,
    clean_victims,
    eligible_targets,
    surrogates,
)
from tfpoison.fitting.trainer import save_weights
from tfpoison.runs.run_directory import RunDirectory

COLUMNS = ("none", "noise_uniform")


def differ(one, other):
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return any((ours != theirs).any() for ours, theirs in pairs)


def test_a_defended_pretraining_is_that_of_the_column(tmp_path):
    """Surrogates and clean victims of the column start from it, too."""
    images = make_images()
    clean = make_clean_networks(tmp_path, images, images, defended=True)
    plain, defended = (clean.pretrained("transfer", name) for name in COLUMNS)
    assert differ(plain, defended)
    files = {path.name for path in (tmp_path / "networks").iterdir()}
    assert files == {f"pretrained-{name}.npz" for name in COLUMNS}
    for network in (
        clean.get(CleanNetwork("surrogate", "transfer", "noise_uniform")),
        clean.get(CleanNetwork("clean", "transfer", "noise_uniform")),
    ):
        # All but the last layer stays as it was in transfer.
        for ours, theirs in zip(
            network.get_weights()[:-2], defended.get_weights()[:-2], strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_a_plain_pretraining_is_shared_by_all_columns(tmp_path):
    images = make_images()
    clean = make_clean_networks(tmp_path, images, images)
    assert clean.pretrained("transfer", "none") is clean.pretrained("transfer", "noise_uniform")
    assert [path.name for path in (tmp_path / "networks").iterdir()] == ["pretrained-none.npz"]
    assert clean.pretrained("from_scratch", "none") is None


def test_a_network_that_another_process_is_at_is_passed_over(tmp_path):
    clean = make_clean_networks(tmp_path, make_images())
    wanted = surrogates("from_scratch", "none", 2, epochs=1)
    wanted += [CleanNetwork("clean", "from_scratch", column) for column in COLUMNS]
    names = ["surrogate-from_scratch-none-0", "surrogate-from_scratch-none-1"]
    names += [f"clean-from_scratch-{column}-0" for column in COLUMNS]

    def trained():
        return {path.stem for path in (tmp_path / "networks").iterdir()}

    with RunDirectory(tmp_path, {}).locked(names[1]):
        clean.train_missing(wanted)
        assert trained() == {*names} - {names[1]}
    clean.train_missing(wanted)
    assert trained() == {*names}


def test_networks_that_are_trained_beforehand_are_those_that_are_asked_for(tmp_path):
    images = make_images()
    wanted = surrogates("from_scratch", "noise_uniform", 2, epochs=2, staggered=True)
    wanted += clean_victims("from_scratch", "none", 1)
    first = make_clean_networks(tmp_path / "a", images, epochs=2)
    first.train_missing(wanted)
    before = {path.name for path in (tmp_path / "a/networks").iterdir()}
    names = ["surrogate-from_scratch-noise_uniform-0-epoch1"]
    names += ["surrogate-from_scratch-noise_uniform-1", "clean-from_scratch-none-0"]
    assert before == {f"{name}.npz" for name in names}
    second = make_clean_networks(tmp_path / "b", images, epochs=2)
    for each in wanted:
        assert not differ(first.get(each), second.get(each))
    assert {path.name for path in (tmp_path / "a/networks").iterdir()} == before


def test_targets_are_images_that_every_network_classifies_rightly():
    validation = make_images().validation
    assert eligible_targets([make_reader()], validation).all()
    missed = {1: [1, 5, 9, 13], 3: [3, 7, 11, 15]}
    for never, positions in missed.items():
        found = eligible_targets([make_reader(never)], validation)
        assert np.flatnonzero(~found).tolist() == positions
    networks = [make_reader(1), make_reader(), make_reader(3)]
    found = eligible_targets(networks, validation)
    assert np.flatnonzero(~found).tolist() == sorted(missed[1] + missed[3])


def test_weights_of_another_network_are_named(tmp_path):
    clean = make_clean_networks(tmp_path, make_images())
    folder = RunDirectory(tmp_path, {}).folder("networks")
    save_weights(folder, "clean-from_scratch-none-0.npz", [np.zeros((3, 3), np.float32)])
    with pytest.raises(ValueError, match=r"clean-from_scratch-none-0.npz as it was.*Remove it"):
        clean.get(CleanNetwork("clean", "from_scratch", "none"))
