"""The README's table of results says what the records say."""

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
    ("gradient matching, two classes", "from scratch"): (
        *("small/gradient_matching_two_classes", "gradient_matching", _STEPS),
    ),
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


def shown():
    """The rows of the table, but for those of accuracies."""
    lines = (pages.DOCS.parent / "README.md").read_text().splitlines()
    rows = [[each.strip() for each in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return {(row[0], row[1]): row[2:] for row in rows if "±" in row[2]}


def test_every_row_is_looked_at():
    assert shown().keys() == ROWS.keys()


@pytest.mark.parametrize("row", ROWS, ids=", ".join)
def test_success_is_that_of_the_record(row):
    record, recipe, columns = ROWS[row]
    records = read_records(pages.DOCS / "results" / record / "records.jsonl.gz")
    success = {
        each.defense: each.success.text(0)
        for each in estimates.summarise(records)
        if (each.recipe, each.adversary) == (recipe, "standard")
    }
    assert [each for each in shown()[row] if each] == [success[each] for each in columns]
