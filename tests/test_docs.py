"""What the documents say: tables are those of the records, names are those of the code."""

import csv
import pathlib
import re
import subprocess

import pytest

from tfpoison import attacks, defenses, launch
from tfpoison.report import estimates as summary
from tfpoison.report import tables
from tfpoison.runs.records import read_records
from tfpoison.runs.run_directory import read_flags

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
RECORDS = sorted(RESULTS.rglob("records.jsonl"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
USAGE = (ROOT / "docs" / "usage.md").read_text()


def name_of(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", RECORDS, ids=name_of)
def test_tables_are_those_of_the_records(path):
    flags = read_flags(path.parent / "config.flags")
    records = summary.in_grid_order(read_records(path), flags)
    rows, comparisons = summary.summarise(records), summary.compare(records)
    assert (path.parent / "table.md").read_text() == tables.markdown(tables.table(rows))
    results = path.parent / "results.csv"
    assert not results.exists() or results.read_text() == tables.csv_text(rows)
    if comparisons:
        paired = tables.markdown(tables.comparison_table(comparisons))
        assert (path.parent / "comparison.md").read_text() == paired


def rows_of(text):
    return {re.sub(" +", " ", line) for line in text.splitlines() if line.startswith("|")}


def test_wide_tables_of_the_document_are_those_of_the_records():
    """Rows that name recipe, scenario and adversary stand in a folder's table as they are."""
    known = set()
    for path in RECORDS:
        for name in ("table.md", "comparison.md"):
            if (path.parent / name).exists():
                known |= rows_of((path.parent / name).read_text())
    shown = rows_of((RESULTS / "README.md").read_text())
    wide = {row for row in shown if re.search(r"\| (standard|adaptive) \|", row)}
    assert len(wide) > 20
    assert wide - known == set()


def rounded(row, name, digits):
    return f"{float(row[name]):.{digits}f} ± {float(row[name + '_error']):.{digits}f}"


@pytest.mark.parametrize(
    "folder",
    [path.parent for path in RECORDS if "comparison" in path.parent.name],
    ids=lambda path: path.name,
)
def test_tables_of_defenses_are_those_of_the_records(folder):
    shown = rows_of((RESULTS / "README.md").read_text())
    with open(folder / "results.csv") as file:
        rows = list(csv.DictReader(file))
    adaptive = {row["defense"]: row for row in rows if row["adversary"] == "adaptive"}
    for row in rows:
        if row["adversary"] == "adaptive":
            continue
        name = "undefended" if row["defense"] == "none" else f"`{row['defense']}`"
        cells = [name, rounded(row, "success", 0)]
        if adaptive:
            known = adaptive.get(row["defense"])
            cells.append(rounded(known, "success", 0) if known else "")
        start = "| " + " | ".join([*cells, rounded(row, "clean_accuracy", 1)]) + " |"
        start = re.sub(" +", " ", start)
        assert any(line.startswith(start) for line in shown), start


@pytest.mark.parametrize("name", [*attacks.names(), *defenses.names(), *launch.JOBS])
def test_every_name_is_in_the_usage(name):
    assert f"`{name}`" in USAGE or name == "none"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_and_paths_lead_somewhere(path):
    text = path.read_text()
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    named = re.findall(r"(?:flags|launch|tfpoison|docs)/[\w/.-]+\.(?:flags|sh|py|md)", text)
    assert [each for each in named if not (ROOT / each).exists() and "NAME" not in each] == []


@pytest.mark.parametrize("path", sorted((ROOT / "launch").glob("*.sh")), ids=name_of)
def test_scripts_can_be_parsed(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0
