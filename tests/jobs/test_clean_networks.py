"""Clean networks: what the training of staggered surrogates has come to."""

import pytest

from tfpoison import data, defenses
from tfpoison.jobs.clean_networks import CleanNetworks, TrainingSetup
from tfpoison.jobs.run_directory import RunDirectory
from tfpoison.jobs.settings import DataSettings, NetworkSettings, TrainingSettings


def make_clean_networks(directory):
    setup = TrainingSetup(
        data=DataSettings(batch_size=32),
        network=NetworkSettings("mlp", width=8),
        training=TrainingSettings(epochs=4, schedule="steps", milestones=(2, 3)),
        pretraining=None,
        defenses={"none": defenses.Defense()},
    )
    images = data.load("digits", train_size=96, validation_size=50)
    return CleanNetworks(
        RunDirectory(directory, {}), setup, images, None, checkpoint_seconds=60, verbose=False
    )


def test_staggered_surrogates_have_come_to_different_rates(tmp_path):
    clean = make_clean_networks(tmp_path)
    rates = clean.surrogate_rates("from_scratch", "none", 4, staggered=True)
    assert rates == pytest.approx([0.1, 0.1, 0.01, 1e-3])
    assert clean.surrogate_rates("from_scratch", "none", 2) == pytest.approx([1e-3, 1e-3])
