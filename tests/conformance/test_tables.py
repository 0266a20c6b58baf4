"""Every entry of every table is covered: a new one without its tests fails here.

What tests name is read from their code, not from their comments and docstrings. That they name an
entry does not say that they test it well; that is for their readers.
"""

import ast
import functools
import importlib
import pathlib

import pytest

import tfpoison
from tfpoison import attacks, defenses
from tfpoison.cli import jobs
from tfpoison.perturbations import class_patch
from tfpoison.registry import Registry

TESTS = pathlib.Path(__file__).parents[1]
PACKAGE = pathlib.Path(tfpoison.__file__).parent

_TRIGGERS = ("patch", "overlay", "sinusoid", "warp", "added_pattern")
# Where each table is tested: in files that name every entry.
NAMED = {
    "attacks.zoo.ATTACKS": ["attacks/test_zoo.py"],
    "perturbations.table.PERTURBATIONS": [
        *("perturbations/test_additive.py", "perturbations/test_patches.py", "attacks/test_zoo.py"),
        "perturbations/test_spatial.py",
    ],
    "perturbations.table.INITIALIZERS": ["perturbations/test_additive.py"],
    "perturbations.table.OPTIMIZERS": ["perturbations/test_optimizers.py"],
    "choices.TARGET_SELECTIONS": ["test_batch.py"],
    "choices.STRATEGIES": ["test_distribution.py"],
    "choices.MATCHING": ["test_distribution.py"],
    "recipes.table.RECIPES": ["recipes/test_recipe.py"],
    "recipes.scenario.SCENARIOS": ["recipes/test_scenario.py"],
    "recipes.table.EXPORTS": ["recipes/test_exports.py"],
    "recipes.threat_settings.THREAT_MODELS": ["recipes/test_threat.py"],
    "recipes.recipe_settings.SELECTIONS": ["recipes/test_threat.py"],
    "recipes.recipe_settings.TARGET_LOSSES": ["recipes/test_recipe.py"],
    "perturbations.table.TRIGGERS": [f"perturbations/test_{each}.py" for each in _TRIGGERS],
    "perturbations.patch.PLACES": ["perturbations/test_patch.py"],
    "jobs.settings.ADVERSARIES": ["jobs/test_brew.py"],
    "fitting.settings.SCHEDULES": ["fitting/test_optimization.py"],
    "fitting.settings.DECOUPLED_DECAY": ["fitting/test_optimization.py"],
    "runs.record_checks.VICTIM": ["victims_of_trials.py"],
    "experiment.settings.PRETRAINING_SOURCES": ["experiment/test_data.py"],
    "attacks.crafting.STEP_SETTINGS": ["test_launch.py", "defenses/test_defense.py"],
    "defenses.table.DEFENSES": ["defenses/test_defense.py"],
    "defenses.filters.table.FILTERS": ["defenses/filters/test_filters.py"],
    "defenses.transforms.table.TRANSFORMS": ["defenses/test_defense.py"],
    "defenses.mixing.table.MIXINGS": ["defenses/mixing/test_mixing.py"],
    "defenses.revisions.table.REVISIONS": ["defenses/revisions/test_revisions.py"],
    "defenses.gradient_shaping.DISTRIBUTIONS": ["defenses/test_gradient_shaping.py"],
    "data.table.SOURCES": ["data/test_digits.py", "data/test_sources.py"],
}
# Or in files that run over the whole of it, by these expressions.
WHOLE = {
    "objectives.table.OBJECTIVES": [
        ("objectives.names()", "objectives/test_objectives.py"),
        ("objectives.names()", "training/distributed.py"),
    ],
    "data.table.AUGMENTATIONS": [("AUGMENTATIONS.names()", "data/test_augmentation.py")],
    "data.augmentation.INTERPOLATIONS": [("INTERPOLATIONS", "data/test_augmentation.py")],
    "data.augmentation.BORDERS": [("BORDERS", "data/test_augmentation.py")],
    "networks.table.NETWORKS": [("networks.names()", "networks/test_networks.py")],
    "attacks.zoo.ATTACKS": [("attacks.names()", "attacks/test_zoo.py")],
    "recipes.table.RECIPES": [
        ("recipes.names()", "jobs/test_experiment.py"),
        ("recipes.names()", "recipes/test_brewing.py"),
    ],
    "repairing.table.REPAIRS": [("table.names()", "repairing/test_repairing.py")],
    "defenses.filters.table.FILTERS": [("filters.names()", "defenses/filters/test_filters.py")],
    "defenses.transforms.table.TRANSFORMS": [
        ("transforms.names()", "defenses/transforms/test_transforms.py")
    ],
    "defenses.mixing.table.MIXINGS": [("mixing.names()", "defenses/test_defense.py")],
    "defenses.table.DEFENSES": [("defenses.names()", "jobs/test_train_defended.py")],
    "fitting.optimization.OPTIMIZERS": [("OPTIMIZERS", "fitting/test_optimization.py")],
    "fitting.settings.SCHEDULES": [("SCHEDULES", "fitting/test_optimization.py")],
    "fitting.settings.DECOUPLED_DECAY": [("DECOUPLED_DECAY", "fitting/test_optimization.py")],
}
# Or by a test below.
HERE = {
    "cli.jobs.JOBS",
    "cli.groups.GROUPS",
    "cli.flagfiles.names",
    "perturbations.class_patch.PLACES",
    "perturbations.class_patch.PATTERNS",
}
# The names that classes go by in the tests of perturbations.
CLASSES = {
    "additive": "Additive",
    "class_patch": "ClassPatch",
    "pair_patch": "patch_pairs",
    "spatial": "Spatial",
}

# Modules without a file of tests of their own, and the one that has their tests.
ELSEWHERE = {
    "attacks/attack": "attacks/test_zoo",
    "attacks/batch_attack": "attacks/test_composite_attack",
    "attacks/crafting": "defenses/test_defense",
    "choices": "test_distribution",
    "defenses/makers": "defenses/test_defense",
    "cli/defense": "test_launch",
    "cli/flagfiles": "test_flags",
    "cli/flags": "test_launch",
    "cli/groups": "test_launch",
    "cli/jobs": "test_launch",
    "cli/main": "test_launch",
    "configurable": "defenses/test_defense",
    "data/examples": "data/test_pipeline",
    "data/image_classification": "data/test_sources",
    "data/loading": "data/test_sources",
    "data/order": "data/test_keep_list",
    "data/selection": "data/test_sources",
    "data/source": "data/test_sources",
    "data/table": "data/test_sources",
    "data/tfds_source": "data/test_sources",
    "defenses/filters/base": "defenses/filters/test_filters",
    "defenses/filters/table": "defenses/filters/test_filters",
    "defenses/mixing/base": "defenses/mixing/test_mixing",
    "defenses/mixing/draws": "defenses/mixing/test_mixup",
    "defenses/mixing/table": "defenses/mixing/test_mixing",
    "defenses/revisions/base": "defenses/revisions/test_revisions",
    "defenses/revisions/network_check": "defenses/revisions/test_training_set_revision",
    "defenses/revisions/table": "defenses/revisions/test_revisions",
    "defenses/table": "defenses/test_defense",
    **{
        f"defenses/transforms/{module}": "defenses/transforms/test_transforms"
        for module in ("base", "bit_depth", "blur", "grayscale", "jpeg", "table")
    },
    "auditing/audit": "jobs/test_audit",
    "auditing/known_poisons": "jobs/test_audit",
    "auditing/page": "jobs/test_audit",
    "fitting/measure_step": "jobs/test_benchmark",
    "notes": "runs/test_run_directory",
    "repairing/base": "repairing/test_repairing",
    "repairing/page": "repairing/test_scanning",
    "repairing/settings": "jobs/test_scan",
    "repairing/table": "repairing/test_repairing",
    "report/experiment": "jobs/test_report",
    "report/training": "jobs/test_train",
    "fitting/preview": "jobs/test_train",
    "runs/record_checks": "runs/test_records",
    "report/tables": "report/test_estimates",
    "experiment/setup": "experiment/test_clean_networks",
    "fitting/settings": "experiment/test_settings",
    "fitting/training_report": "jobs/test_train",
    "networks/architecture": "networks/test_networks",
    "networks/blocks": "networks/test_networks",
    "networks/convnet": "networks/test_networks",
    "networks/keras_applications": "networks/test_networks",
    "networks/making": "networks/test_networks",
    "networks/mlp": "networks/test_networks",
    "networks/mobilenet": "networks/test_networks",
    "networks/resnet": "networks/test_networks",
    "networks/table": "networks/test_networks",
    "networks/vgg": "networks/test_networks",
    "networks/wide_resnet": "networks/test_networks",
    "objectives/convex_polytope": "objectives/test_objectives",
    "objectives/evasion": "objectives/test_objectives",
    "objectives/feature_collision": "objectives/test_objectives",
    "objectives/gradient_matching": "objectives/test_objectives",
    "objectives/gradient_matching_fast": "objectives/test_objectives",
    "objectives/gradient_matching_squared_error": "objectives/test_objectives",
    "objectives/hidden_trigger": "objectives/test_objectives",
    "objectives/metapoison": "objectives/test_objectives",
    "objectives/objective": "objectives/test_objectives",
    "objectives/table": "objectives/test_objectives",
    "objectives/targeted_evasion": "objectives/test_objectives",
    "perturbations/additive_with_triggered_targets": "attacks/test_zoo",
    "perturbations/blend": "perturbations/test_additive",
    "perturbations/class_patch": "perturbations/test_patches",
    "perturbations/for_each_class": "perturbations/test_universal",
    "perturbations/initializers": "perturbations/test_additive",
    "perturbations/pair_patch": "perturbations/test_patches",
    "perturbations/perturbation": "attacks/test_zoo",
    "perturbations/resampling": "perturbations/test_warp",
    "perturbations/table": "attacks/test_zoo",
    "perturbations/trigger": "perturbations/test_patch",
    "perturbations/triggers": "recipes/test_poisons",
    "perturbations/universal_mixed": "perturbations/test_universal",
    "perturbations/universal_patch": "perturbations/test_universal",
    "repairing/universal": "repairing/test_universal_repair",
    "recipes/crafting_state": "recipes/test_crafting",
    "recipes/drawing": "recipes/test_threat",
    "recipes/fingerprints": "recipes/test_poisons",
    "recipes/poisoned_examples": "recipes/test_poisons",
    "recipes/poisoned_pipeline": "recipes/test_poisons",
    "recipes/poisons_file": "recipes/test_poisons",
    "recipes/table": "recipes/test_recipe",
    "recipes/target_loss": "recipes/test_recipe",
    "recipes/threat_settings": "recipes/test_threat",
    "settings": "test_fields",
    "jobs/settings": "test_launch",
    "recipes/recipe_settings": "recipes/test_recipe",
    "runs/flag_lines": "test_flags",
    "__main__": "test_process",
    "training/lasting": "training/test_robust_model",
    "training/multi_worker": "training/test_distributed_training",
}


@functools.cache
def code(path):
    """The code of a file, without docstrings and other bare strings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                child.value = ast.Constant(...)
    return tree


def strings(path):
    """The strings and the names that stand in a file's code."""
    nodes = list(ast.walk(code(path)))
    found = {node.value for node in nodes if isinstance(node, ast.Constant)}
    found |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return found | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def entries(table):
    """The names in a table of the package: an object, or what a function returns."""
    module, _, name = table.rpartition(".")
    found = getattr(importlib.import_module(f"tfpoison.{module}"), name)
    return list(found() if callable(found) else found)


def tables():
    """The public tables of the package: registries, and constants that hold strings."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.parse(path.read_text()).body:
            defined = []
            if isinstance(node, ast.FunctionDef) and node.name == "names":
                defined = ["names"]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                defined = [each.id for each in targets if isinstance(each, ast.Name)]
            for name in defined:
                value = getattr(importlib.import_module(f"tfpoison.{module}".rstrip(".")), name)
                is_function = isinstance(node, ast.FunctionDef)
                is_table = is_function or isinstance(value, tuple | list | dict | set | Registry)
                if is_table and not name.startswith("_"):
                    found[f"{module}.{name}"] = set(entries(f"{module}.{name}"))
    return found


def test_every_table_is_known():
    """Each stands above, or is the part of a table that does: the networks of one file, …"""
    known = {*NAMED, *WHOLE, *HERE}
    found = tables()
    assert known <= found.keys()
    of_strings = {
        table: names
        for table, names in found.items()
        if names and all(isinstance(name, str) for name in names)
    }
    assert len(of_strings) > 30  # The search does find tables.
    parts = {
        table
        for table, names in of_strings.items()
        for other in known
        if names <= found[other] and table.split(".")[0] == other.split(".")[0]
    }
    assert sorted(of_strings.keys() - known - parts) == []


@pytest.mark.parametrize("table", NAMED)
def test_every_entry_is_named(table):
    named = set().union(*(strings(TESTS / file) for file in NAMED[table]))
    assert [name for name in entries(table) if not {name, CLASSES.get(name, name)} & named] == []


@pytest.mark.parametrize("table", WHOLE)
def test_the_whole_table_is_run_over(table):
    for expression, file in WHOLE[table]:
        nodes = ast.walk(code(TESTS / file))
        assert expression in {ast.unparse(each) for each in nodes if isinstance(each, ast.expr)}


def test_every_way_of_patches_is_in_the_zoo():
    """And the zoo is tested as a whole."""
    perturbations = [attacks.get(name).perturbation for name in attacks.names()]
    patches = [each for each in perturbations if isinstance(each, class_patch.ClassPatch)]
    assert {each.place for each in patches} == set(class_patch.PLACES)
    assert {each.pattern for each in patches} == set(class_patch.PATTERNS)


def test_every_defense_has_its_flagfile():
    texts = [path.read_text() for path in (TESTS.parent / "flags/defenses").glob("*.flags")]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("--defense=")]
    named = {name for line in lines for name, _ in defenses.parse(line.partition("=")[2])}
    assert named == set(defenses.names())


def test_every_job_has_its_tests():
    assert [name for name in jobs.JOBS if not (TESTS / f"jobs/test_{name}.py").exists()] == []


def test_tests_mirror_the_package():
    """Every module has a file of tests of its name, or one that is told above."""
    modules = {
        str(path.relative_to(PACKAGE).with_suffix(""))
        for path in PACKAGE.rglob("*.py")
        if path.stem != "__init__"
    }
    own = {
        module
        for module in modules
        for path in [TESTS / module]
        if path.with_name(f"test_{path.name}.py").exists()
    }
    assert sorted(modules - own) == sorted(ELSEWHERE)
    assert [file for file in ELSEWHERE.values() if not (TESTS / f"{file}.py").exists()] == []
