"""Every entry of every table is covered: a new one without its tests fails here."""

import pathlib

import pytest

import tfpoison
from tfpoison import attacks, data, defenses, distribution, launch, perturbations, recipes
from tfpoison.batch import TARGET_SELECTIONS
from tfpoison.defenses import filter as filters
from tfpoison.defenses import mixing, revision
from tfpoison.defenses.dp_sgd import DISTRIBUTIONS
from tfpoison.jobs.experiment import ADVERSARIES
from tfpoison.jobs.settings import PRETRAINING_SOURCES
from tfpoison.recipes import exports, scenario
from tfpoison.recipes.target_loss import TARGET_LOSSES
from tfpoison.recipes.threat import SELECTIONS, THREAT_MODELS
from tfpoison.recipes.trigger import PLACES

TESTS = pathlib.Path(__file__).parents[1]

# Where each table is tested: files that name every entry, or one that runs over the whole table.
NAMED = {
    "attacks": (attacks.names, ["attacks/test_zoo.py"]),
    "perturbations": (
        perturbations.names,
        ["perturbations/test_additive.py", "perturbations/test_patches.py", "attacks/test_zoo.py"],
    ),
    "initializers": (lambda: perturbations.INITIALIZERS, ["perturbations/test_additive.py"]),
    "optimizers": (lambda: perturbations.OPTIMIZERS, ["perturbations/test_optimizers.py"]),
    "target selections": (lambda: TARGET_SELECTIONS, ["test_batch.py"]),
    "strategies": (distribution.names, ["test_distribution.py"]),
    "matching": (lambda: distribution.MATCHING, ["test_distribution.py"]),
    "recipes": (recipes.names, ["recipes/test_recipe.py"]),
    "scenarios": (scenario.names, ["recipes/test_scenario.py"]),
    "exports": (exports.names, ["recipes/test_exports.py"]),
    "threat models": (lambda: THREAT_MODELS, ["recipes/test_threat.py"]),
    "poison selections": (lambda: SELECTIONS, ["recipes/test_threat.py"]),
    "target losses": (lambda: TARGET_LOSSES, ["recipes/test_recipe.py"]),
    "trigger places": (lambda: PLACES, ["recipes/test_trigger.py"]),
    "adversaries": (lambda: ADVERSARIES, ["jobs/test_brew.py"]),
    "pretraining sources": (lambda: PRETRAINING_SOURCES, ["jobs/test_experiment_data.py"]),
    "defenses": (defenses.names, ["defenses/test_defense.py"]),
    "filters": (filters.names, ["defenses/test_filter.py"]),
    "mixings": (mixing.names, ["defenses/test_mixing.py"]),
    "revisions": (revision.names, ["defenses/test_revision.py"]),
    "noise of gradients": (lambda: DISTRIBUTIONS, ["defenses/test_dp_sgd.py"]),
    "data sets": (data.names, ["data/test_digits.py", "data/test_sources.py"]),
}
WHOLE = {
    "objectives.names()": "objectives/test_objectives.py",
    "augmentation.names()": "data/test_augmentation.py",
    "networks.names()": "networks/test_networks.py",
    "attacks.names()": "attacks/test_zoo.py",
    "recipes.names()": "jobs/test_experiment.py",
    "filters.names()": "defenses/test_filter.py",
    "mixing.names()": "defenses/test_defense.py",
    "defenses.names()": "jobs/test_train_defended.py",
    '@pytest.mark.parametrize("name", OPTIMIZERS)': "jobs/test_optimization.py",
}
# The names that classes go by in the tests of perturbations.
CLASSES = {
    "additive": "Additive(",
    "class_patch": "ClassPatch(",
    "pair_patch": "patch_pairs",
}


@pytest.mark.parametrize("table", NAMED)
def test_every_entry_is_named(table):
    names, files = NAMED[table]
    text = "".join((TESTS / file).read_text() for file in files)
    assert [
        name for name in names() if f'"{name}"' not in text and CLASSES.get(name, "\0") not in text
    ] == []


@pytest.mark.parametrize("table", WHOLE)
def test_the_whole_table_is_run_over(table):
    assert table in (TESTS / WHOLE[table]).read_text()


def test_every_defense_has_its_flagfile():
    texts = [path.read_text() for path in (TESTS.parent / "flags/defenses").glob("*.flags")]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("--defense=")]
    named = {name for line in lines for name, _ in defenses.parse(line.partition("=")[2])}
    assert named == set(defenses.names())


def test_every_job_has_its_tests():
    assert [name for name in launch.JOBS if not (TESTS / f"jobs/test_{name}.py").exists()] == []


def test_tests_mirror_the_package():
    """Every module has a test file of its name, or one for its folder's table."""
    folders = {"attacks", "objectives", "perturbations", "networks", "data", "jobs", "training"}
    folders |= {"recipes", "defenses"}
    package = pathlib.Path(tfpoison.__file__).parent
    for path in package.glob("*.py"):
        if path.stem not in ("__init__", "configurable"):
            assert (TESTS / f"test_{path.stem}.py").exists(), path.stem
    assert {path.name for path in package.iterdir() if (path / "__init__.py").exists()} == folders
    for folder in folders:
        assert list((TESTS / folder).glob("test_*.py"))
