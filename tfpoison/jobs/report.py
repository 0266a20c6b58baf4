"""Makes tables, figures and a page from the records of poisoning experiments."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from tfpoison.report import estimates as summary
from tfpoison.report import figures, page, tables
from tfpoison.report.estimates import Record
from tfpoison.runs.records import FILE as RECORDS
from tfpoison.runs.records import find_records, read_records
from tfpoison.runs.run_directory import CONFIGURATION, RunDirectory, read_flags

PREVIEWS = "previews"
REPORT = "report"
PAGE = "report.html"
TABLES = "tables.md"
_MOST_PREVIEWS = 12

_MEANING_OF_ERRORS = (
    "± is the standard error over trials: the victims of a trial are averaged first, and the "
    "sample standard deviation of the trials is divided by √n; one trial has none. Where all "
    "trials have the same success, as with 0 of 20, that would be 0; a quarter of the range stands "
    "in for the standard deviation then, which makes 25 % / √n, or 5.59 % for 20 trials as in the "
    "paper's Table 1 (and twice that for differences). It says nothing of what all trials of "
    "a grid share: surrogates, and the features of transfer and fine-tuning, are trained once for "
    "each column."
)
_MEANING_OF_PAIRS = (
    "Trials that were run both ways: defended less undefended (with the standard adversary), in "
    "percentage points. A trial counts as a success where at least half of its targets get the "
    "adversarial class."
)
_CAPTIONS = {
    "success_against_accuracy": "Success of the poisons against clean accuracy. Error bars are "
    "standard errors; the best defenses stand at the bottom on the right.",
    "confidence_over_training": "Confidence in the adversarial class on the targets during "
    "training: mean over trials, with a band of its standard error.",
    "confidence_pairs": "Confidence in the adversarial class on the targets, trial by trial. "
    "Trials under the diagonal are those that the defense helps.",
}


@dataclasses.dataclass(frozen=True)
class ReportJob:
    """Makes a report of an experiment's records, whether it is finished or not.

    Of a folder of experiments each gets its report, and the folder a file of all their tables.

    Attributes:
        directory: the output directory of an experiment, or a folder of such.
    """

    directory: pathlib.Path

    def check(self) -> None:
        """Raises ValueError where there is nothing to report."""
        for each in self._experiments():
            _read(each)

    def run(self) -> str:
        """Writes the report, and returns its table and the files for people to read.

        Raises:
            ValueError: the directory has no records.
        """
        experiments = self._experiments()
        if experiments == [self.directory]:
            return _report(self.directory)
        for each in experiments:
            write_report(each, title=f"Experiment {each.resolve().name}")
        name = RunDirectory(self.directory, {}).write_text(
            TABLES, collect_tables(self.directory, experiments)
        )
        return f"{len(experiments)} experiments, all tables in {name}; pages:\n" + "\n".join(
            f"  {each / REPORT / PAGE}" for each in experiments
        )

    def _experiments(self) -> list[pathlib.Path]:
        if not self.directory.is_dir():
            raise ValueError(
                "Expected the output directory of an experiment. Received: "
                f"{self.directory}, which is no directory"
            )
        if find_records(self.directory) is not None:
            return [self.directory]
        folders = sorted(path for path in self.directory.rglob("*") if path.is_dir())
        found = [folder for folder in folders if find_records(folder) is not None]
        if not found:
            raise ValueError(
                f"Expected the output directory of an experiment, with a file {RECORDS}, or a "
                f"folder of such. Received: {self.directory}, which has none"
            )
        return found


def _report(directory: pathlib.Path) -> str:
    records = _read(directory)
    written = write_report(directory, title=f"Experiment {directory.resolve().name}")
    table = tables.markdown(tables.narrow_table(summary.summarise(records)))
    files = "\n".join(f"  {path}" for path in written)
    notes = "\n\n".join(_notes(records))
    return f"{table}\n{notes}\n\nwritten:\n{files}"


def collect_tables(root: pathlib.Path, experiments: Sequence[pathlib.Path]) -> str:
    """Returns the tables of experiments in Markdown, each under the name of its folder."""
    sections = ["# The tables of the experiments\n"]
    for each in experiments:
        records = _read(each)
        sections.append(f"## {each.relative_to(root)}\n")
        sections.append(tables.markdown(tables.table(summary.summarise(records))))
        if comparisons := summary.compare(records):
            sections.append(tables.markdown(tables.comparison_table(comparisons)))
    return "\n".join(sections)


def _read(directory: pathlib.Path) -> list[Record]:
    path = find_records(directory)
    assert path is not None
    records = read_records(path)
    if not records:
        raise ValueError(f"Expected at least one record in {path}. Received none.")
    configuration = directory / CONFIGURATION
    flags = read_flags(configuration) if configuration.is_file() else {}
    return summary.in_grid_order(records, flags)


def write_report(directory: pathlib.Path, *, title: str) -> list[pathlib.Path]:
    """Writes tables, figures and a page into `directory`/report, and returns their paths.

    The same records give the same bytes. Files of an earlier report are replaced, and figures that
    have no data any more are removed.

    Args:
        directory: the experiment's output directory.
        title: the page's title.

    Raises:
        ValueError: the directory has no records.
    """
    records = _read(directory)
    rows, comparisons = summary.summarise(records), summary.compare(records)
    output = RunDirectory(directory, {}).folder(REPORT)
    texts = {"table.md": tables.markdown(tables.table(rows)), "results.csv": tables.csv_text(rows)}
    if comparisons:
        texts["comparison.md"] = tables.markdown(tables.comparison_table(comparisons))
        texts["comparison.csv"] = tables.csv_text(comparisons)
    pictures = {name: page.png(figure) for name, figure in _figures(records).items()}
    sections = [
        _overview(records),
        page.section("Success and clean accuracy", page.table(tables.table(rows))),
    ]
    if comparisons:
        paired = page.table(tables.comparison_table(comparisons))
        sections.append(page.section("Trial by trial", page.note(_MEANING_OF_PAIRS) + paired))
    shown = [page.picture(picture, _CAPTIONS[name]) for name, picture in pictures.items()]
    sections.append(page.section("Figures", "".join(shown)))
    sections.append(_previews(directory / PREVIEWS))
    sections.append(page.section("Time", page.table(_times(records))))
    sections.append(page.configuration(directory / CONFIGURATION))

    written = [output.write_text(name, text) for name, text in texts.items()]
    for name, picture in pictures.items():
        written.append(output.write_bytes(f"{name}.png", picture))
    written.append(output.write_text(PAGE, page.document(title, sections)))
    _remove_old(output.path, {path.name for path in written})
    return written


def _remove_old(folder: pathlib.Path, names: set[str]) -> None:
    known = {"comparison.md", "comparison.csv", *(f"{name}.png" for name in _CAPTIONS)}
    for name in known - names:
        (folder / name).unlink(missing_ok=True)


def _figures(records: list[Record]) -> dict[str, Figure]:
    """Returns the figures that there are data for."""
    # A dollar in the settings of a defense starts no formula.
    with matplotlib.rc_context({"text.parse_math": False}):
        return _draw_figures(records)


def _draw_figures(records: list[Record]) -> dict[str, Figure]:
    rows = summary.summarise(records)
    drawn = {}
    if not all(math.isnan(row.clean_accuracy.mean + row.success.mean) for row in rows):
        drawn["success_against_accuracy"] = figures.draw_success_against_accuracy(rows)
    if any(record.get("confidence_by_epoch") for record in records):
        drawn["confidence_over_training"] = figures.draw_confidence_over_training(records)
    if any(not math.isnan(each.target_confidence.mean) for each in summary.compare(records)):
        drawn["confidence_pairs"] = figures.draw_confidence_pairs(records)
    return drawn


def _overview(records: list[Record]) -> str:
    known = summary.measured(records)
    trials = {(record["recipe"], record["scenario"], record["trial"]) for record in known}
    numbers = [len(trials), len({record["trial"] for record in known}), len(records)]
    text = (
        f"{numbers[1]} trials ({numbers[0]} over all recipes and scenarios), "
        f"{numbers[2]} victims trained. A trial draws its targets and poisons anew."
    )
    return f"<p>{text}</p>\n" + "".join(map(page.note, _notes(records)))


def _notes(records: list[Record]) -> list[str]:
    """Returns what the tables do not say themselves."""
    diverged = [record["diverged"] for record in records if "diverged" in record]
    if not diverged:
        return [_MEANING_OF_ERRORS]
    return [
        f"{len(diverged)} of {len(records)} victims diverged: they tell nothing of the "
        f"poisons, and count as no trial. The first: {diverged[0]}",
        _MEANING_OF_ERRORS,
    ]


def _times(records: list[Record]) -> list[list[str]]:
    """Returns the time of each phase; poisons that several victims share are counted once."""
    phases = dict.fromkeys(phase for record in records for phase in (record.get("seconds") or {}))
    lines = [["phase", "times", "mean, s", "total, h"]]
    for phase in phases:
        # The records of shared poisons repeat the very same time.
        spent = {
            (
                *(record[name] for name in ("recipe", "scenario", "adversary", "trial")),
                summary.seconds(record, phase),
                index if phase == "training" else None,
            ): summary.seconds(record, phase)
            for index, record in enumerate(records)
        }
        known = [value for value in spent.values() if not math.isnan(value)]
        if known:
            mean = sum(known) / len(known)
            lines.append([phase, str(len(known)), f"{mean:.1f}", f"{sum(known) / 3600:.2f}"])
    return lines


def _previews(folder: pathlib.Path) -> str:
    paths = sorted(folder.glob("*.png"))
    if not paths:
        return ""
    shown = [page.picture(path.read_bytes(), path.stem) for path in paths[:_MOST_PREVIEWS]]
    left = len(paths) - len(shown)
    note = page.note(f"{left} more in the folder {PREVIEWS}.") if left else ""
    return page.section("Poisons", "".join(shown) + note)
