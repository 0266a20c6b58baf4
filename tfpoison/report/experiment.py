"""What the records of an experiment come to: an answer, tables, figures, a page."""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence

from tfpoison.report import estimates as summary
from tfpoison.report import figures, page, pictures, tables
from tfpoison.report.estimates import STANDARD, UNDEFENDED, Comparison, Record, Row
from tfpoison.report.figures import Panel
from tfpoison.report.page import Picture
from tfpoison.runs.record_checks import training_of
from tfpoison.runs.records import FILE as RECORDS
from tfpoison.runs.records import find_records, read_records
from tfpoison.runs.run_directory import CONFIGURATION, RunDirectory, read_flags

PREVIEWS = "previews"
REPORT = "report"
PAGE = "report.html"
# On a page; the files beside it hold all.
_MOST_PREVIEWS, _MOST_PANELS = 12, 40
_NARROW = (
    *("defense", "success %", "robust accuracy %", "accuracy %", "trials", "outcomes"),
    "in one training",
)
# What a report leaves where there are data for it.
_OPTIONAL = {
    *("detection.md", "comparison.md", "comparison.csv", "confidence_over_training.png"),
    *("confidence_pairs.png", "success_against_accuracy.png"),
}


@dataclasses.dataclass(frozen=True)
class ExperimentReport:
    """The report of an experiment, whether it is finished or not; drawn where it is asked for.

    Attributes:
        records: of its victims, at least one, in the order in which they are told of.
        title: the page's title.
        directory: where its previews and its configuration are, if it has some.
    """

    records: Sequence[Record]
    title: str
    directory: pathlib.Path | None = None

    @classmethod
    def read(cls, directory: pathlib.Path) -> "ExperimentReport":
        """Returns the report of an experiment's directory; ValueError where it has no records."""
        path = find_records(directory)
        if path is None:
            raise ValueError(
                f"Expected the output directory of an experiment, with a file {RECORDS}, or a "
                f"folder of such. Received: {directory}, which has none"
            )
        records = read_records(path)
        if not records:
            raise ValueError(f"Expected at least one record in {path}. Received none.")
        configuration = directory / CONFIGURATION
        flags = read_flags(configuration) if configuration.is_file() else {}
        title = f"Experiment {directory.resolve().name}"
        return cls(summary.in_grid_order(records, flags), title, directory)

    @functools.cached_property
    def rows(self) -> list[Row]:
        """The estimates, one of each recipe, scenario, adversary and defense."""
        return summary.summarise(self.records)

    @functools.cached_property
    def comparisons(self) -> list[Comparison]:
        """What each defense changes, trial by trial."""
        return summary.compare(self.records)

    @property
    def answers(self) -> list[str]:
        """For each recipe and scenario a sentence: what the adversary reaches, and what helps."""
        attacks = list(dict.fromkeys((row.recipe, row.scenario) for row in self.rows))
        answers = []
        for attack in attacks:
            answer = _answer([row for row in self.rows if (row.recipe, row.scenario) == attack])
            answers.append(f"{', '.join(attack)}: {answer}" if len(attacks) > 1 else answer)
        return answers

    @property
    def notes(self) -> list[str]:
        """What the tables do not say themselves."""
        victims = {
            (training_of(each), each["defense"]): each.get("diverged") for each in self.records
        }
        diverged = [how for how in victims.values() if how is not None]
        told = (
            f"{len(diverged)} of {len(victims)} victims diverged, or could not be repaired: they "
            "tell nothing of the poisons, and count as no trial. The first: "
            f"{diverged[0] if diverged else ''}"
        )
        sharing = max(row.sharing for row in self.rows)
        shared = (
            f"Up to {sharing} adversaries share a training, each with its own target, class and "
            "images. Their outcomes need not be independent: each standard error is the larger of "
            "two, over all outcomes and over the means of trials; of one trial, the first."
        )
        return [*([told] if diverged else []), *([shared] if sharing > 1 else [])]

    def tables(self) -> str:
        """Returns the tables in Markdown."""
        return "\n".join(text for name, text in self._texts().items() if name.endswith(".md"))

    def _texts(self) -> dict[str, str]:
        """Returns the files of text."""
        texts = {
            "table.md": tables.markdown(tables.table(self.rows)),
            "results.csv": tables.csv_text(self.rows),
        }
        if found := tables.detection_table(self.rows):
            texts["detection.md"] = tables.markdown(found)
        if self.comparisons:
            paired = tables.markdown(tables.comparison_table(self.comparisons))
            texts |= {"comparison.md": paired, "comparison.csv": tables.csv_text(self.comparisons)}
        return texts

    def figures(self) -> dict[str, list[Panel]]:
        """Returns the panels of each figure that there are data for, by its name."""
        drawn = {
            "success_against_accuracy": figures.draw_success_against_accuracy(self.rows),
            "confidence_over_training": figures.draw_confidence_over_training(self.records),
            "confidence_pairs": figures.draw_confidence_pairs(self.records),
        }
        return {name: panels for name, panels in drawn.items() if panels}

    def page(self) -> str:
        """Returns all of it as one HTML file, of at most `page.MOST_BYTES`."""
        known = summary.measured(self.records)
        trials = {(record["recipe"], record["scenario"], record["trial"]) for record in known}
        trained = len(set(map(training_of, self.records)))
        cells = tables.table(self.rows)
        folder = self.directory and self.directory / PREVIEWS
        previews = sorted(folder.glob("*.png")) if folder else []
        return page.render(
            "experiment.html",
            self.directory,
            title=self.title,
            answers=self.answers,
            overview=f"{len({record['trial'] for record in known})} trials ({len(trials)} over all "
            f"recipes and scenarios), {trained} victims trained. A trial draws its "
            "targets and poisons anew.",
            notes=self.notes,
            success=tables.by_attack(cells, _NARROW),
            found=tables.by_attack(tables.detection_table(self.rows)),
            paired=tables.by_attack(tables.comparison_table(self.comparisons)),
            figures={
                name: (_pictures(name, panels[:_MOST_PANELS]), len(panels))
                for name, panels in self.figures().items()
            },
            previews=[
                Picture(path.read_bytes(), pictures.read_caption(path))
                for path in previews[:_MOST_PREVIEWS]
            ],
            all_previews=len(previews),
            columns=tables.by_attack(cells),
            times=summary.times(self.records),
        )

    def save(self, folder: str | pathlib.Path) -> list[pathlib.Path]:
        """Writes tables, figures and the page into a folder, and returns their paths.

        The same records give the same bytes. Files of an earlier report are replaced, and figures
        that have no data any more are removed.
        """
        output = RunDirectory(pathlib.Path(folder), {})
        output.path.mkdir(parents=True, exist_ok=True)
        written = [output.write_text(name, text) for name, text in self._texts().items()]
        for name, panels in self.figures().items():
            written.append(output.write_bytes(f"{name}.png", figures.png(panels)))
        written.append(output.write_text(PAGE, self.page()))
        for name in _OPTIONAL.difference(path.name for path in written):
            (output.path / name).unlink(missing_ok=True)
        return written


def _pictures(name: str, panels: Sequence[Panel]) -> list[Picture]:
    what = name.replace("_", " ").capitalize()
    return [
        Picture(figures.svg(each), "", ", ".join([what, *each.title.split("\n")]).rstrip(", "))
        for each in panels
    ]


def _answer(rows: Sequence[Row]) -> str:
    """Returns what one attack reaches, and what it reaches with the best defense."""
    known = [row for row in rows if not math.isnan(row.success.mean)]
    undefended = next((row for row in known if row.defense == UNDEFENDED), None)
    parts = []
    if undefended is not None:
        success = undefended.success.text(0)
        parts.append(f"Undefended, the adversary reached {success} % of its targets")
    for adversary in dict.fromkeys(row.adversary for row in known):
        defended = [
            row for row in known if row.adversary == adversary and row.defense != UNDEFENDED
        ]
        if not defended:
            continue
        best = min(defended, key=lambda row: (row.success.mean, -row.clean_accuracy.mean))
        which = summary.title(best.defense)
        if len(defended) > 1:
            which = f"the best of {len(defended)} defenses, {which},"
        start = "" if adversary == STANDARD else f"where the adversary is {adversary}, "
        part = f"{start}with {which} {best.success.text(0)} %"
        if undefended is not None:
            cost = undefended.clean_accuracy.mean - best.clean_accuracy.mean
            part += f", at {cost:.1f} points of clean accuracy"
        parts.append(part)
    return f"{'; '.join(parts)}." if parts else "No trial was measured."
