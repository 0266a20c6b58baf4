"""Makes tables, figures and a page from the records of poisoning experiments."""

import dataclasses
import functools
import pathlib
from typing import TYPE_CHECKING

from tfpoison.report import tables
from tfpoison.runs.records import find_records
from tfpoison.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from tfpoison.report.experiment import ExperimentReport

TABLES = "tables.md"


@dataclasses.dataclass(frozen=True)
class ReportJob:
    """Makes a report of an experiment's records, whether it is finished or not.

    Of a folder of experiments each gets its report, and the folder a file of all their tables.
    """

    directory: pathlib.Path

    def check(self) -> None:
        """Raises ValueError where there is nothing to report."""
        _ = self._reports

    def run(self) -> str:
        """Writes the report, and returns its table and the files for people to read."""
        from tfpoison.report.experiment import PAGE, REPORT

        for folder, report in self._reports.items():
            written = report.save(folder / REPORT)
        if list(self._reports) == [self.directory]:
            table = tables.markdown(tables.table(report.rows))
            files = "\n".join(f"  {path}" for path in written)
            return "\n".join([*report.answers, "", table, *report.notes, f"\nwritten:\n{files}"])
        text = collect_tables(self.directory, self._reports)
        name = RunDirectory(self.directory, {}).write_text(TABLES, text)
        pages = "\n".join(f"  {folder / REPORT / PAGE}" for folder in self._reports)
        return f"{len(self._reports)} experiments, all tables in {name}; pages:\n{pages}"

    @functools.cached_property
    def _reports(self) -> dict[pathlib.Path, "ExperimentReport"]:
        if not self.directory.is_dir():
            raise ValueError(
                "Expected the output directory of an experiment. Received: "
                f"{self.directory}, which is no directory"
            )
        folders = [self.directory]
        if find_records(self.directory) is None:
            below = sorted(path for path in self.directory.rglob("*") if path.is_dir())
            within = [folder for folder in below if find_records(folder) is not None]
            folders = within or folders
        # What draws is imported where there is something to draw.
        from tfpoison.report.experiment import ExperimentReport

        return {folder: ExperimentReport.read(folder) for folder in folders}


def collect_tables(root: pathlib.Path, reports: dict[pathlib.Path, "ExperimentReport"]) -> str:
    """Returns the tables of experiments in Markdown, each under the name of its folder."""
    sections = [f"## {path.relative_to(root)}\n\n{each.tables()}" for path, each in reports.items()]
    return "\n".join(["# The tables of the experiments\n", *sections])
