"""The README's table of results says what the records say."""

import itertools

import pages
import pytest

from tfpoison.report import estimates
from tfpoison.runs.records import read_records

_STEPS = ("none", "gradient_matching", "gradient_matching_fast")
_KNOWN_SIZE = "patch_known_size(patch_size=16;poison_fraction=0.75)"
# What the table calls an attack and a scenario: the record, the recipe, the columns' defenses.
ROWS = {
    ("bullseye polytope", "transfer"): ("small/transfer", "bullseye", _STEPS),
    ("poison frogs", "transfer"): ("small/transfer", "poison_frogs", _STEPS),
    ("gradient matching (squared error)", "transfer"): (
        *("small/transfer", "gradient_matching_se", _STEPS),
    ),
    ("hidden trigger", "transfer"): ("small/hidden_trigger", "hidden_trigger", _STEPS),
    ("convex polytope", "transfer"): ("small/convex_polytope", "convex_polytope", _STEPS),
    ("bullseye polytope", "fine-tuning"): ("small/fine_tuning", "bullseye", _STEPS),
    ("gradient matching", "from scratch"): ("small/gradient_matching", "gradient_matching", _STEPS),
    ("backdoor patches (defense: random patches)", "from scratch"): (
        *("small/backdoor_patch", "backdoor_patch", ("none", "patch")),
    ),
    (
        "the same, two classes, a large trigger (defense: patches of its size, p = 0.75)",
        "from scratch",
    ): ("small/backdoor_patch_expected_size", "backdoor_patch", ("none", _KNOWN_SIZE)),
    ("MetaPoison", "from scratch"): ("small/metapoison", "metapoison", ("none",)),
    ("bullseye polytope, digits (a quarter of the class)", "fine-tuning"): (
        *("fine_tuning_digits", "bullseye", _STEPS),
    ),
    ("MetaPoison, digits", "from scratch"): ("metapoison_digits", "metapoison", _STEPS),
}


_LAST = "gradient_matching(steps=1;weights=last)"
_EVASION = "evasion(steps=1;epsilon=8/255)"
_EVASION_ON_DIGITS = "evasion(steps=1;epsilon=0.25)"
# In the order of the default's table: the record, the adversary, the columns' defenses.
OF_THE_DEFAULT = [
    (
        *("small/gradient_matching_two_classes", "standard"),
        ("none", "gradient_matching", _LAST, _EVASION),
    ),
    ("small/gradient_matching_two_classes_adaptive", "adaptive", (_LAST, _EVASION)),
    (
        *("small/gradient_matching_four_classes", "standard"),
        ("none", "gradient_matching_last_layer", _EVASION),
    ),
    (
        *("small/gradient_matching_four_classes", "adaptive"),
        ("gradient_matching", "gradient_matching_last_layer", _EVASION),
    ),
    (
        *("small/gradient_matching_four_easy_classes", "standard"),
        ("none", "gradient_matching", "gradient_matching_last_layer", _EVASION, "jpeg"),
    ),
    (
        *("small/gradient_matching_four_easy_classes", "adaptive"),
        ("gradient_matching", "gradient_matching_last_layer", _EVASION, "jpeg"),
    ),
    (
        *("comparison_digits_steps", "standard"),
        ("none", "gradient_matching", _LAST, _EVASION_ON_DIGITS, "jpeg"),
    ),
    (
        *("comparison_digits_steps", "adaptive"),
        ("gradient_matching", _LAST, _EVASION_ON_DIGITS, "jpeg"),
    ),
    ("small/transfer_last_layer", "standard", ("none", _LAST, _EVASION, "jpeg")),
    ("small/transfer_last_layer", "adaptive", (_LAST, _EVASION, "jpeg")),
    (
        *("fine_tuning_digits", "standard"),
        ("none", "gradient_matching", "gradient_matching_last_layer", _EVASION_ON_DIGITS, "jpeg"),
    ),
    (
        *("fine_tuning_digits", "adaptive"),
        ("gradient_matching", "gradient_matching_last_layer", _EVASION_ON_DIGITS, "jpeg"),
    ),
]


def table(columns):
    """The cells of the table of so many columns."""
    lines = (pages.DOCS.parent / "README.md").read_text().splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line[:1] == "|"]
    return [[each.strip(" *") for each in row] for row in rows if len(row) == columns]


def shown():
    """The rows of the paper's attacks, but for those of accuracies."""
    return {(row[0], row[1]): row[2:] for row in table(5) if "±" in row[2]}


def summary(record):
    return estimates.summarise(read_records(pages.DOCS / "results" / record / "records.jsonl.gz"))


def test_the_default_is_what_the_records_say():
    rows = [row[2:] for row in table(7) if "±" in "".join(row)]
    assert len(rows) == len(OF_THE_DEFAULT)
    for cells, (record, adversary, columns) in zip(rows, OF_THE_DEFAULT, strict=True):
        found = {each.defense: each for each in summary(record) if each.adversary == adversary}
        assert [each for each in cells if each] == [found[each].success.text(0) for each in columns]
    accuracies = [row[2:] for row in table(7) if "clean accuracy" in row[1]]
    for cells, record in zip(accuracies, (0, 2, 4, 6, 8, 10), strict=True):
        name, _, columns = OF_THE_DEFAULT[record]
        found = {each.defense: each for each in summary(name) if each.adversary == "standard"}
        assert [each for each in cells if each] == [
            f"{found[each].clean_accuracy.mean:.1f}" for each in columns
        ]


def test_every_row_is_looked_at():
    assert shown().keys() == ROWS.keys()


@pytest.mark.parametrize("row", ROWS, ids=", ".join)
def test_success_is_that_of_the_record(row):
    record, recipe, columns = ROWS[row]
    success = {
        each.defense: each.success.text(0)
        for each in summary(record)
        if (each.recipe, each.adversary) == (recipe, "standard")
    }
    assert [each for each in shown()[row] if each] == [success[each] for each in columns]


_AUGMENTATION = "shift_flip(shift=2;interpolation=nearest;border=reflect)"
_REPAIR = f"universal(epsilon=64/255;augmentation={_AUGMENTATION})"
_TRIGGERS = {
    "patch": "backdoor_patch",
    "BadNets": "badnets",
    "Blended": "blended",
    "label-consistent": "label_consistent",
    "SIG": "sig",
    "WaNet": "wanet",
    "adaptive blend": "adaptive_blend",
    "adaptive patch": "adaptive_patch",
}
OF_BACKDOORS = {
    "undefended": "none",
    "linear_discriminants": "linear_discriminants",
    "linear_discriminants+margin_drop": "linear_discriminants+margin_drop",
    "linear_discriminants and the default in the step": (
        "linear_discriminants+gradient_matching_last_layer"
    ),
    "margin_drop": "margin_drop",
    "tfpoison.repair with 500 clean images": f"none, repair={_REPAIR}",
    "the default in the step": "gradient_matching_last_layer",
}


def backdoors():
    """Of the adversary who does not train with the defense."""
    return [each for each in summary("cifar10_backdoors") if each.adversary == "standard"]


def test_backdoors_are_what_the_record_says():
    summarised = backdoors()
    header, *rows = [row for row in table(10) if "--" not in row[0]]
    assert [row[0].replace("`", "") for row in rows] == list(OF_BACKDOORS)
    assert header[1:-1] == list(_TRIGGERS)
    for row in rows:
        defense = OF_BACKDOORS[row[0].replace("`", "")]
        of_defense = [each for each in summarised if each.defense == defense]
        found = {each.recipe.partition("(")[0]: each for each in of_defense}
        expected = [found[name].success.text(0) for name in _TRIGGERS.values()]
        assert row[1:] == [*expected, f"{of_defense[0].clean_accuracy.mean:.1f}"]


def test_other_defenses_against_backdoors_are_what_the_record_says():
    """The table of the results, of one training each; repairs stand under their own names."""
    lines = (pages.DOCS / "results" / "README.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| defense, one training"))
    rows = [line.split("|")[1:-1] for line in itertools.takewhile(str.strip, lines[start + 2 :])]
    summarised = backdoors()
    assert len(rows) > 20
    for name, *cells in ([each.strip(" `") for each in row] for row in rows):
        names = {"undefended": "none"}.get(name, name.replace("repair=", "none, repair="))
        of_defense = [each for each in summarised if each.defense == names]
        found = {each.recipe.partition("(")[0]: each for each in of_defense}
        expected = [found[each].success.text(0) for each in _TRIGGERS.values()]
        assert cells == [*expected, f"{of_defense[0].clean_accuracy.mean:.1f}"]
