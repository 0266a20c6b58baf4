"""Parts of a stranger's module work on the command line as the package's own do."""

import csv
import pathlib
import re
import sys

import pytest

from tfpoison import launch
from tfpoison.attacks import ATTACKS
from tfpoison.data import SOURCES
from tfpoison.defenses import DEFENSES
from tfpoison.networks import NETWORKS
from tfpoison.objectives import OBJECTIVES
from tfpoison.recipes.table import RECIPES

GUIDE = pathlib.Path(__file__).parents[1] / "docs/guides/plugins.md"
FLAGS = [
    *("--plugin=my_parts", "--dataset=stripes", "--network=one_layer", "--epochs=2"),
    *("--batch_size=24", "--verbosity=-1"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder where the guide's module lies; what it registers is forgotten afterwards."""
    (module,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "my_parts.py").write_text(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_parts", raising=False)
    monkeypatch.setattr("sys.path", list(sys.path))
    for table in (ATTACKS, SOURCES, DEFENSES, NETWORKS, OBJECTIVES, RECIPES):
        monkeypatch.setattr(table, "_makers", dict(table._makers))
    return tmp_path


def test_the_parts_of_the_guide(here, capsys):
    # This defense crafts the attack with the objective, from its second epoch on.
    line = [*FLAGS, "--defense=late_and_cut(size=3)", f"--output_dir={here / 'run'}"]
    assert launch.main(line) == 0
    *_, last = csv.DictReader((here / "run/metrics.csv").open())
    assert float(last["objective_after"]) < float(last["objective_before"])
    assert "--plugin=my_parts" in (here / "run/config.flags").read_text().splitlines()
    brewing = ["--job=brew", "--recipes=brighter", "--budget=6", "--clean_networks=0"]
    assert launch.main([*FLAGS, *brewing, f"--output_dir={here / 'poisons'}"]) == 0
    assert (here / "poisons/poisons.npz").exists()
    assert launch.main(["--plugin=my_parts", "--help=sure_of_it"]) == 0
    assert "Poisons that the network is sure of" in capsys.readouterr().out


def test_a_wrong_setting_of_a_part_is_refused_as_any(here, capsys):
    line = [*FLAGS, "--defense=late_and_cut(sizes=3)", f"--output_dir={here / 'o'}"]
    assert launch.main(line) == 2
    assert "Did you mean 'size'" in capsys.readouterr().err
