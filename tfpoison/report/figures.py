"""Figures from the records of experiments: panels that stand alone on a page, or all in a grid."""

import functools
import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfpoison.report import estimates as summary
from tfpoison.report.estimates import ADAPTIVE, STANDARD, UNDEFENDED, Estimate, Record, Row

# Okabe and Ito's colours, which colour-blind readers can tell apart; black is the undefended one.
_BLACK = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP*X<>hpd"
# Of each side of a panel its name, its colour, its line, and the inside of its points.
_SIDES = {
    UNDEFENDED: ("undefended", _BLACK, "-", _BLACK),
    STANDARD: ("defended", _COLOURS[0], "-", _COLOURS[0]),
    ADAPTIVE: ("defended, adaptive adversary", _COLOURS[1], "--", "none"),
}
# Inches: a panel is as wide as a phone, which shows its text in its own size.
_WIDTH, _HEIGHT, _LINE = 4.2, 3.3, 0.18
_LETTERS = 58
_LEAST_COLUMNS = 3
_STYLE: Any = {
    # A dollar in the settings of a defense starts no formula.
    "text.parse_math": False,
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans"],
    # The same figure gives the same names inside the file.
    "svg.hashsalt": "tfpoison",
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
}


class Panel(NamedTuple):
    """A drawing that stands alone: what stands above it, and what draws it into axes."""

    title: str
    draw: Callable[[Axes], None]


@matplotlib.rc_context(_STYLE)
def grid(panels: Sequence[Panel]) -> Figure:
    """Returns a figure with panels in rows, each with a legend of all that has a label."""
    columns = min(len(panels), max(_LEAST_COLUMNS, math.ceil(math.sqrt(len(panels)))))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    lines = 0
    for panel, axis in zip(panels, axes, strict=False):
        panel.draw(axis)
        axis.set_title(panel.title)
        axis.grid(alpha=0.3)
        if labels := axis.get_legend_handles_labels()[1]:
            axis.legend(loc="upper left", bbox_to_anchor=(-0.12, -0.16))
        lines = max(lines, "\n".join([panel.title, *labels]).count("\n"))
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.set_size_inches(_WIDTH * columns, (_HEIGHT + _LINE * lines) * rows)
    return figure


def png(panels: Sequence[Panel]) -> bytes:
    """Returns panels in a grid as a PNG; the same ones give the same bytes."""
    return _render(panels, "png", dpi=120, metadata={"Software": None})


def svg(panel: Panel) -> bytes:
    """Returns a panel as an SVG without a ground; the same one gives the same bytes."""
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    content = _render([panel], "svg", transparent=True, metadata=nothing)
    # What stands before tells of the program and of where the format is defined.
    return content[content.index(b"<svg") :]


@matplotlib.rc_context(_STYLE)
def _render(panels: Sequence[Panel], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    grid(panels).savefig(buffer, format=form, **options)
    return buffer.getvalue()


def draw_success_against_accuracy(rows: Iterable[Row]) -> list[Panel]:
    """Draws the poisons' success against the clean accuracy, with standard errors.

    As figure 2 of arXiv 2102.13624: a point for each setting, a look for each defense, a line
    through the settings of one defense, each named beside its point. Each recipe, scenario and kind
    of adversary has a panel of its own, with the undefended networks in all of them. The best
    defenses stand at the bottom on the right.
    """
    rows = [row for row in rows if not math.isnan(row.clean_accuracy.mean + row.success.mean)]
    families = dict.fromkeys(summary.family(each.defense) for each in rows)
    looks = {UNDEFENDED: (_BLACK, "o")}
    for number, name in enumerate(each for each in families if each != UNDEFENDED):
        turn, place = divmod(number, len(_COLOURS))
        looks[name] = _COLOURS[place], _MARKERS[turn % len(_MARKERS)]
    # All panels show one part of the plane.
    limits = _limits([row.clean_accuracy for row in rows])

    def draw(axis: Axes, shown: Sequence[Row]) -> None:
        axis.set(xlim=limits, ylim=(-5, 105))
        axis.set(xlabel="clean accuracy (%)", ylabel="success of the poisons (%)")
        for family in dict.fromkeys(summary.family(row.defense) for row in shown):
            points = [row for row in shown if summary.family(row.defense) == family]
            _draw_curve(axis, points, *looks[family])

    panels: dict[tuple[str, ...], Callable[[Axes], None]] = {}
    for row in rows:
        attack = row.recipe, row.scenario
        shown = [
            each
            for each in rows
            if (each.recipe, each.scenario) == attack
            and (each.adversary == row.adversary or each.defense == UNDEFENDED)
        ]
        panels[*attack, f"{row.adversary} adversary"] = functools.partial(draw, shown=shown)
    return _titled(panels)


def _limits(values: Sequence[Estimate]) -> tuple[float, float]:
    """Returns limits that hold all values with their errors, and some room."""
    errors = np.nan_to_num([each.error for each in values])
    means = np.array([each.mean for each in values])
    low, high = (means - errors).min(initial=100), (means + errors).max(initial=0)
    room = 0.08 * (high - low) or 1
    return low - room, high + room


def _draw_curve(axis: Axes, points: Sequence[Row], colour: str, marker: str) -> None:
    """Draws the settings of one defense against one attack."""
    both = [(row.clean_accuracy, row.success) for row in points]
    x, y = np.array([[accuracy.mean, success.mean] for accuracy, success in both]).T
    errors = np.nan_to_num([[accuracy.error, success.error] for accuracy, success in both]).T
    axis.plot(x, y, color=colour, linewidth=1, alpha=0.5)
    _, _, bars = axis.errorbar(
        *(x, y, errors[1], errors[0]),
        color=colour,
        marker=marker,
        markersize=7,
        linestyle="none",
        elinewidth=1,
        alpha=0.9,
        label=_wrap(summary.title(summary.family(points[0].defense))),
    )
    for bar in bars:
        bar.set_alpha(0.35)
    settings = [", ".join(re.findall(r"\(([^)]*)\)", summary.title(row.defense))) for row in points]
    for row, text in zip(points, settings, strict=True):
        if not text or len(points) == 1:
            continue
        axis.annotate(
            text.replace("poison_fraction", "p").replace(";", ", "),
            (row.clean_accuracy.mean, row.success.mean),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=6,
            color=colour,
        )


def draw_confidence_over_training(records: Iterable[Record]) -> list[Panel]:
    """Draws how sure the victims get of the adversarial class, epoch by epoch.

    A panel for each recipe, scenario and defense, with the undefended networks in black and the
    adaptive adversary dashed: the mean over trials, with a band of its standard error. Records
    without a history are left out.
    """

    def draw(axis: Axes, sides: Mapping[str, list[Record]]) -> None:
        axis.set(ylabel="confidence in the adversarial class", ylim=(-0.03, 1.03))
        for side, inside in sides.items():
            name, colour, line, _ = _SIDES[side]
            mean, error = _history(inside)
            _draw_epochs(axis, mean, label=name, color=colour, linestyle=line)
            epochs = np.arange(1, len(mean) + 1)
            low, high = mean - error, mean + error
            axis.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)

    known = [record for record in records if record.get("confidence_by_epoch")]
    return _titled(
        {k: functools.partial(draw, sides=sides) for k, sides in _by_side(known).items()}
    )


def draw_confidence_pairs(records: Iterable[Record]) -> list[Panel]:
    """Draws each trial's confidence in the adversarial class undefended (x) and defended (y).

    A panel for each recipe, scenario and defense; trials under the diagonal are those that it
    helps. Points are hollow where the adversary is adaptive.
    """

    def draw(axis: Axes, pairs: Mapping[str, list[tuple[float, float]]]) -> None:
        axis.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
        axis.set(xlabel="confidence undefended", ylabel="confidence defended")
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        for side, both in pairs.items():
            name, colour, _, face = _SIDES[side]
            x, y = zip(*both, strict=True)
            axis.scatter(x, y, s=28, edgecolors=colour, facecolors=face, label=name)

    panels: dict[tuple[str, ...], Callable[[Axes], None]] = {}
    for key, sides in _by_side(records).items():
        undefended = sides.pop(UNDEFENDED, [])
        pairs = {
            side: list(summary.pairs(undefended, inside, "target_confidence").values())
            for side, inside in sides.items()
        }
        if pairs := {side: both for side, both in pairs.items() if both}:
            panels[key] = functools.partial(draw, pairs=pairs)
    return _titled(panels)


def draw_curves(columns: Mapping[str, Sequence[float]], title: str) -> Panel:
    """Draws numbers that a training has left epoch by epoch, by name; NaN for what is not known."""

    def draw(axis: Axes) -> None:
        for (name, values), colour in zip(columns.items(), (_BLACK, *_COLOURS), strict=False):
            _draw_epochs(axis, values, label=name, color=colour)

    return Panel(title, draw)


def _draw_epochs(axis: Axes, values: Sequence[float] | np.ndarray, **look: Any) -> None:
    # A history of one epoch is a point, which a line does not show.
    marker = "o" if len(values) == 1 else None
    axis.plot(np.arange(1, len(values) + 1), values, linewidth=1.6, marker=marker, **look)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _history(records: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over trials of each epoch, and its standard error; 0 for one trial."""
    histories = [record["confidence_by_epoch"] for record in records]
    estimates = []
    for epoch in range(max(map(len, histories))):
        values = [
            {**record, "_value": history[epoch]}
            for record, history in zip(records, histories, strict=True)
            if epoch < len(history)
        ]
        outcomes = summary.by_outcome(values, "_value")
        trials = [trial for trial, *_ in outcomes]
        estimates.append(summary.estimate(outcomes.values(), trials=trials))
    errors = np.nan_to_num([each.error for each in estimates])
    return np.array([each.mean for each in estimates]), errors


def _by_side(records: Iterable[Record]) -> dict[tuple[str, ...], dict[str, list[Record]]]:
    """Returns the records of each recipe, scenario and defense: undefended, and each adversary's.

    Where there is no defense at all, the undefended ones stand for themselves.
    """
    cells = summary.group(records, "recipe", "scenario", "defense", "adversary")
    undefended = {
        cell[:2]: inside for cell, inside in cells.items() if cell[2:] == (UNDEFENDED, STANDARD)
    }
    panels: dict[tuple[str, ...], dict[str, list[Record]]] = {}
    for (*attack, defense, adversary), inside in cells.items():
        if defense != UNDEFENDED:
            start = {UNDEFENDED: undefended[*attack]} if tuple(attack) in undefended else {}
            panels.setdefault((*attack, summary.title(defense)), start)[adversary] = inside
    alone = undefended.keys() - {key[:2] for key in panels}
    return panels | {(*attack, ""): {UNDEFENDED: undefended[attack]} for attack in sorted(alone)}


def _titled(panels: Mapping[tuple[str, ...], Callable[[Axes], None]]) -> list[Panel]:
    """Returns panels by recipe, scenario and what else there is, under what tells them apart."""
    attacks, others = {key[:2] for key in panels}, {key[2] for key in panels}
    titled = []
    for (*attack, other), draw in panels.items():
        lines = [_wrap(other)] if len(others) > 1 or len(attacks) == 1 else []
        lines += [" · ".join(attack)] if len(attacks) > 1 else []
        titled.append(Panel("\n".join(filter(None, lines)), draw))
    return titled


def _wrap(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _LETTERS))
