"""Training with every defense of the table, from the command line and within an experiment."""

import json

import numpy as np
import pytest

from tfpoison import defenses, launch
from tfpoison.recipes import Poisons

DATA = ["--dataset=digits", "--train_size=160", "--validation_size=60", "--batch_size=32"]
TRAINING = [
    *("--network=mlp", "--width=16", "--epochs=4", "--optimizer=adam", "--learning_rate=0.01"),
    "--verbosity=-1",
]
ATTACK = [
    *("--epsilon=0.25", "--budget=8", "--brew_steps=3", "--restarts=1"),
    *("--brew_augmentation=none", "--clean_networks=0"),
]


def run(directory, *flags):
    return launch.main([*DATA, *TRAINING, f"--output_dir={directory}", *flags])


@pytest.fixture(scope="module")
def poisons(tmp_path_factory):
    """A file of poisons."""
    directory = tmp_path_factory.mktemp("poisons")
    assert run(directory, "--job=brew", *ATTACK) == 0
    return directory / "poisons.npz"


def weights(directory):
    import keras

    return keras.models.load_model(directory / "network.keras").get_weights()


@pytest.mark.parametrize("name", defenses.names())
def test_every_defense_trains(name, poisons, tmp_path):
    text = "friendly_noise(step_size=0.1;steps=3)" if name == "friendly_noise" else name
    flags = [f"--defense={text}", f"--poisons={poisons}"]
    assert run(tmp_path / "one", *flags) == 0
    report = json.loads((tmp_path / "one/report.json").read_text())
    assert report["defense"] == text
    assert 0 <= report["clean_accuracy"] <= 1
    assert ("removed_examples" in report) == defenses.get(name).changes_training_set
    assert ("removed_poisons" in report) == defenses.get(name).changes_training_set
    if name == "spectral_signatures":
        assert 16 <= report["removed_examples"] <= 24
        assert report["removed_poisons"] <= Poisons.load(poisons).size


@pytest.mark.parametrize("name", ["mixup+gradient_shaping", "deep_knn+epic(share=0.3)"])
def test_same_seed_same_bits(name, poisons, tmp_path):
    """Every kind of defense but crafting, for which tests of RobustModel show it."""
    flags = [f"--defense={name}", f"--poisons={poisons}"]
    assert run(tmp_path / "one", *flags) == 0
    assert run(tmp_path / "other", *flags) == 0
    for ours, theirs in zip(weights(tmp_path / "one"), weights(tmp_path / "other"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_columns_of_an_experiment(tmp_path):
    columns = "none,mixup(ways=4),deep_knn(neighbors=5),epic(share=0.3)"
    flags = ["--job=experiment", *ATTACK, f"--defenses={columns}", "--trials=1"]
    flags += ["--adversaries=standard,adaptive"]
    assert run(tmp_path, *flags) == 0
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    names = columns.split(",")
    expected = [(0, "standard", name) for name in names]
    expected += [(0, "adaptive", name) for name in names[1:]]
    found = [(each["trial"], each["adversary"], each["defense"]) for each in records]
    assert sorted(found) == sorted(expected)
    for record in records:
        removes = "removed_share" in record
        assert removes == record["defense"].startswith(("deep_knn", "epic"))
        if removes:
            assert 0 <= record["removed_share"] < 1
            assert 0 <= record["removed_poisons"] <= 1
            assert 0 <= record["removed_clean"] <= 1
    assert any(record.get("removed_share") for record in records)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--defense=gradient_shaping", "--clipnorm=1"], "global_clipnorm"),
        (["--defense=epic", "--epochs=1"], "more epochs"),
        (["--defense=deep_knn", "--strategy=multi_worker"], "strategy of one process"),
        (["--defense=deep_knn(neighbors=1280)"], "Expected fewer `neighbors`"),
        (["--job=experiment", "--defenses=deep_knn(neighbors=1280)"], "Expected fewer `neighbors`"),
        (["--defense=mixup+cutmix"], "two with their own mixing"),
        (["--defense=mixup", "--defense_epsilon=0.1"], "Expected no flags of adversarial"),
        (["--job=experiment", "--defenses=none,mixup(way=4)"], "Unknown setting"),
        (["--job=experiment", "--defenses=none,epic", "--epochs=1"], "more epochs"),
    ],
)
def test_refused_at_the_door(flags, message, tmp_path, capsys):
    assert run(tmp_path, *flags) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
