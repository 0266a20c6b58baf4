"""The job that brews: one file of poisons, in the forms that other tools read."""

import json

import numpy as np
import pytest

from tfpoison import data, launch
from tfpoison.recipes import Poisons

FLAGS = [
    *("--job=brew", "--dataset=digits", "--train_size=200", "--validation_size=100"),
    *("--network=mlp", "--width=16", "--epochs=2", "--batch_size=50", "--optimizer=adam"),
    *("--learning_rate=0.01", "--epsilon=0.25", "--budget=8", "--brew_steps=5", "--restarts=1"),
    *("--brew_augmentation=none", "--clean_networks=0", "--trial=3"),
]


def brew(directory, *more):
    return launch.main([*FLAGS, f"--output_dir={directory}", *more])


def check_training_on(poisons, directory):
    flags = [each for each in FLAGS[1:9] if not each.startswith("--epsilon")]
    output = f"--output_dir={directory / 'train'}"
    more = [f"--poisons={directory / 'poisons.npz'}", output, "--verbosity=-1"]
    assert launch.main([*flags, *more]) == 0
    report = json.loads((directory / "train/report.json").read_text())
    assert report["poisons"] == 8
    assert report["poison_success"] in (0, 1)
    assert 0 <= report["target_confidence"] <= 1
    other = [each.replace("train_size=200", "train_size=201") for each in flags]
    assert launch.main([*other, *more[:1], f"--output_dir={directory / 'other'}"]) == 2
    assert not (directory / "other/config.flags").exists()


@pytest.mark.parametrize("adversary", ["standard", "adaptive"])
def test_poisons(adversary, tmp_path, capsys):
    more = [f"--adversaries={adversary}"]
    if adversary == "adaptive":
        more += ["--defense_attack=noise_uniform"]
    exported = adversary == "adaptive"
    assert brew(tmp_path, *more, *(["--export=image_folder,tfds"] if exported else [])) == 0
    output = capsys.readouterr().out
    assert "trial key 0-3" in output
    assert "8 of 200 training images are poisons" in output
    images = data.load("digits", train_size=200, validation_size=100)
    poisons = Poisons.load(tmp_path / "poisons.npz")
    assert poisons.epsilon == 63 / 255
    poisoned = poisons.poison(images.train)
    if exported:
        read = data.load("poisoned", data_dir=tmp_path / "tfds")
        np.testing.assert_array_equal(read.train.images, poisoned.images)
        assert data.load("image_folder", data_dir=tmp_path / "image_folder").train.size == 200
    assert list((tmp_path / "previews").glob("*.png"))
    if not exported:
        check_training_on(poisons, tmp_path)
    # What is there is not made again.
    before = (tmp_path / "poisons").stat().st_mtime_ns
    assert brew(tmp_path, *more) == 0
    assert (tmp_path / "poisons").stat().st_mtime_ns == before


@pytest.mark.parametrize("flag", ["target_class", "adversarial_class"])
def test_numbers_of_classes_beside_other_classes(flag, tmp_path, capsys):
    more = ["--scenarios=transfer", "--pretraining_source=other_classes"]
    assert brew(tmp_path, *more, "--pretraining_classes=1,2", f"--{flag}=5") == 2
    assert f"{flag}=5" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
