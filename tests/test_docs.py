"""What the documents say: tables are those of the records, names are those of the code."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from tfpoison import attacks, defenses, recipes
from tfpoison.cli.jobs import JOBS
from tfpoison.jobs.benchmark import format_table
from tfpoison.jobs.report import ReportJob, collect_tables
from tfpoison.report import estimates as summary
from tfpoison.report.experiment import ExperimentReport
from tfpoison.runs.records import read_records

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
EXPERIMENTS = sorted(path.parent for path in RESULTS.rglob("records.jsonl.gz"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = "\n".join(path.read_text() for path in (ROOT / "docs" / "guides").glob("*.md"))


def name_of(path):
    return str(path.relative_to(ROOT))


def test_tables_are_those_of_the_records():
    assert len(EXPERIMENTS) == 25
    reports = {folder: ExperimentReport.read(folder) for folder in EXPERIMENTS}
    assert (RESULTS / "tables.md").read_text() == collect_tables(RESULTS, reports)


def test_results_stay_small():
    """Tables, configurations, records: what is drawn from them is not kept."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", RESULTS], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert listed.returncode or 0 < len(paths) <= 60
    assert sum(path.stat().st_size for path in paths) < 2e6


def test_one_command_draws_all_from_the_records(tmp_path):
    for folder in ("quickstart", "small/metapoison"):
        shutil.copytree(RESULTS / folder, tmp_path / folder)
    ReportJob(tmp_path).run()
    for folder in ("quickstart", "small/metapoison"):
        names = {path.name for path in (tmp_path / folder / "report").iterdir()}
        assert {"report.html", "table.md", "success_against_accuracy.png"} <= names
    sections = (tmp_path / "tables.md").read_text().split("## ")[1:]
    assert [text.split("\n")[0] for text in sections] == ["quickstart", "small/metapoison"]
    assert all(text.rstrip() in (RESULTS / "tables.md").read_text() for text in sections)


def test_the_table_of_steps_is_that_of_its_record():
    rows = json.loads((RESULTS / "benchmark" / "benchmark.json").read_text())
    assert "\n".join(format_table(rows)) in (RESULTS / "README.md").read_text()


def test_trainings_are_those_of_their_records():
    text = (RESULTS / "README.md").read_text()
    reports = json.loads((RESULTS / "cifar10_small" / "reports.json").read_text())
    for report in reports.values():
        history = report["by_epoch"]
        numbers = [f"{report['clean_accuracy']:.3f}", f"{history['accuracy'][-1]:.3f}"]
        if "objective_before" in history:
            both = (history[f"objective_{when}"][-1] for when in ("before", "after"))
            numbers.append(" → ".join(f"{value:.2f}" for value in both))
        assert " | ".join(numbers) in text


def rows_of(text):
    return {re.sub(" +", " ", line) for line in text.splitlines() if line.startswith("|")}


def test_wide_tables_of_the_document_are_those_of_the_records():
    """Rows that name recipe, scenario and adversary stand in a folder's table as they are."""
    known = rows_of((RESULTS / "tables.md").read_text())
    shown = rows_of((RESULTS / "README.md").read_text())
    wide = {row for row in shown if re.search(r"\| (standard|adaptive) \|", row)}
    assert len(wide) > 20
    assert wide - known == set()


def rounded(estimate, digits):
    return f"{estimate.mean:.{digits}f} ± {estimate.error:.{digits}f}"


@pytest.mark.parametrize(
    "folder",
    [folder for folder in EXPERIMENTS if "comparison" in folder.name],
    ids=lambda path: path.name,
)
def test_tables_of_defenses_are_those_of_the_records(folder):
    shown = rows_of((RESULTS / "README.md").read_text())
    rows = summary.summarise(read_records(folder / "records.jsonl.gz"))
    adaptive = {row.defense: row for row in rows if row.adversary == "adaptive"}
    for row in rows:
        if row.adversary == "adaptive":
            continue
        title = summary.title(row.defense)
        name = title if row.defense == "none" else f"`{title}`"
        cells = [name, rounded(row.success, 0)]
        if adaptive:
            known = adaptive.get(row.defense)
            cells.append(rounded(known.success, 0) if known else "")
        start = "| " + " | ".join([*cells, rounded(row.clean_accuracy, 1)]) + " |"
        start = re.sub(" +", " ", start)
        assert any(line.startswith(start) for line in shown), start


@pytest.mark.parametrize("name", [*attacks.names(), *recipes.names(), *defenses.names(), *JOBS])
def test_every_name_is_in_the_guides(name):
    assert f"`{name}`" in GUIDES or name == "none"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_and_paths_lead_somewhere(path):
    text = path.read_text()
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    named = re.findall(r"(?:flags|launch|tfpoison|docs)/[\w/.-]+\.(?:flags|sh|py|md)", text)
    assert [each for each in named if not (ROOT / each).exists() and "NAME" not in each] == []


@pytest.mark.parametrize("path", sorted((ROOT / "launch").glob("*.sh")), ids=name_of)
def test_scripts_can_be_parsed(path):
    assert subprocess.run(["bash", "-n", path], capture_output=True).returncode == 0
