"""The page on which defense to take says what the records say."""

import functools
import json
import re
import statistics

import pages
import pytest

from tfpoison.report import estimates
from tfpoison.runs.records import read_records

PAGE = pages.DOCS / "which_defense.md"
RESULTS = pages.DOCS / "results"
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("|")
]
EVIDENCE = [row for row in ROWS if re.fullmatch(r"`[\w/]+`", row[0]) and len(row) == 7]
AUDITS = [row for row in ROWS if len(row) == 6 and "±" in row[2]]
# What the page calls filters, and what their reports do.
FILTERS = {
    "spectral signatures (30 % of each class)": "spectral_signatures(share=0.3)",
    "spectral signatures": "spectral_signatures(share=0.3)",
    "activation clustering": "activation_clustering",
}
MEASURES = ("precision", "chance", "recall", "roc_auc")


@functools.cache
def summary(record):
    return estimates.summarise(read_records(RESULTS / record / "records.jsonl.gz"))


@pytest.mark.parametrize("row", EVIDENCE, ids=lambda row: f"{row[0]} {row[2]}")
def test_success_and_accuracy_are_those_of_the_record(row):
    record, attack, defense, *figures = row
    recipe, scenario = attack.split(", ")
    found = {
        (each.adversary, each.defense): each
        for each in summary(record.strip("`"))
        if (each.recipe, each.scenario) == (recipe, scenario)
    }
    undefended = found["standard", "none"]
    defended = found["standard", defense.strip("`")]
    adaptive = found.get(("adaptive", defense.strip("`")))
    accuracies = (each.clean_accuracy.mean for each in (undefended, defended))
    assert figures == [
        undefended.success.text(0),
        defended.success.text(0),
        adaptive.success.text(0) if adaptive else "–",
        " → ".join(f"{accuracy:.1f}" for accuracy in accuracies),
    ]


def test_what_audits_find_is_what_their_reports_say():
    reports = json.loads((RESULTS / "audit" / "reports.json").read_text())
    poisons = ""
    assert len(AUDITS) == 4
    for named, name, *figures in AUDITS:
        poisons = named or poisons
        found = [
            report["detection"][FILTERS[name]]
            for key, report in reports.items()
            if key.startswith(poisons.lower().replace(" ", "_").removesuffix("es"))
        ]
        for measure, figure in zip(MEASURES, figures, strict=True):
            values = [each[measure] for each in found]
            error = statistics.stdev(values) / len(values) ** 0.5
            digits = 3 if measure in ("precision", "chance") else 2
            shown = f"{statistics.mean(values):.{digits}f}"
            assert figure == (shown if measure == "chance" else f"{shown} ± {error:.{digits}f}")


def test_every_table_is_looked_at():
    assert len(EVIDENCE) > 40
    looked_at = {row[0].strip("`") for row in EVIDENCE}
    assert {"small/transfer", "small/comparison_backdoor"} <= looked_at


def test_the_table_of_costs_is_that_of_the_results():
    text = (RESULTS / "README.md").read_text()
    costs = [row for row in ROWS if len(row) == 6 and row[1].endswith(" s")]
    assert len(costs) == 5
    assert all("| " + " | ".join(row) + " |" in text for row in costs)
