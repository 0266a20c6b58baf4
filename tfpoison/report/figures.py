"""Figures from the records of poisoning experiments."""

import bisect
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tfpoison.report import estimates as summary
from tfpoison.report.estimates import UNDEFENDED, Record, Row

# Okabe and Ito's colours, which colour-blind readers can tell apart; black is the undefended one.
_BLACK = "#000000"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP*X<>hpd"
_ADAPTIVE = "adaptive"
_MOST_POISONS = 8
_MOST_TARGETS = 2
_PANEL = 4.2
_MOST_COLUMNS = 3
_MOST_ROWS = 100
_FONT = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def draw_success_against_accuracy(rows: Sequence[Row]) -> Figure:
    """Draws the poisons' success against the clean accuracy, with standard errors.

    As figure 2 of arXiv 2102.13624: a point for each setting, a colour for each defense, a line
    through the settings of one defense, each named beside its point. Markers tell recipes and
    scenarios apart where there are several, and defenses of one colour otherwise. Each kind of
    adversary has a panel of its own, with the undefended networks in both. The best defenses stand
    at the bottom on the right.

    Args:
        rows: of `summary.summarise`.
    """
    families = list(dict.fromkeys(map(summary.family, summary.defenses(rows))))
    colours = _colours(families)
    attacks = list(dict.fromkeys(_attack_name(row) for row in rows))
    adversaries = list(dict.fromkeys(row.adversary for row in rows))

    def marker(row: Row) -> str:
        if len(attacks) > 1:
            return _MARKERS[attacks.index(_attack_name(row)) % len(_MARKERS)]
        return _marker_of_family(families, summary.family(row.defense))

    height = max(4.6, 1.8 + 0.25 * (len(families) + len(attacks)))
    figure = Figure(figsize=(3.5 + 5 * len(adversaries), height), layout="constrained")
    axes = figure.subplots(1, len(adversaries), sharex=True, sharey=True, squeeze=False)[0]
    for axis, adversary in zip(axes, adversaries, strict=True):
        shown = [row for row in rows if adversary == row.adversary or row.defense == UNDEFENDED]
        curves: dict[tuple[str, str], list[Row]] = {}
        for row in shown:
            curve = _attack_name(row), summary.family(row.defense)
            curves.setdefault(curve, []).append(row)
        for (_, family), points in curves.items():
            _draw_curve(axis, points, colours[family], marker)
        if len(adversaries) > 1:
            axis.set_title(f"{adversary} adversary", fontsize=10)
        axis.set_xlabel("clean accuracy (%)")
        axis.set_ylim(-5, 105)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("success of the poisons (%)")
    if len(attacks) > 1:
        handles = [_patch(colour, name) for name, colour in colours.items()]
        named = {name: _MARKERS[index % len(_MARKERS)] for index, name in enumerate(attacks)}
        handles += [_key(shape, name, "grey") for name, shape in named.items()]
    else:
        handles = [
            _key(_marker_of_family(families, name), summary.title(name), colours[name])
            for name in families
        ]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _draw_curve(
    axis: Axes, points: Sequence[Row], colour: str, marker: Callable[[Row], str]
) -> None:
    """Draws the settings of one defense against one attack."""
    accuracies = [row.clean_accuracy.mean for row in points]
    successes = [row.success.mean for row in points]
    axis.plot(accuracies, successes, color=colour, linewidth=1, alpha=0.5)
    for row in points:
        _, _, bars = axis.errorbar(
            row.clean_accuracy.mean,
            row.success.mean,
            xerr=np.nan_to_num(row.clean_accuracy.error),
            yerr=np.nan_to_num(row.success.error),
            color=colour,
            marker=marker(row),
            markersize=7,
            linewidth=1,
            alpha=0.9,
        )
        for bar in bars:
            bar.set_alpha(0.35)
        if len(points) > 1:
            _name_setting(axis, row, colour)


def _name_setting(axis: Axes, row: Row, colour: str) -> None:
    settings = ", ".join(re.findall(r"\(([^)]*)\)", row.defense))
    if settings and not math.isnan(row.clean_accuracy.mean + row.success.mean):
        axis.annotate(
            settings.replace("poison_fraction", "p").replace(";", ", "),
            (row.clean_accuracy.mean, row.success.mean),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=6,
            color=colour,
            parse_math=False,
        )


def _marker_of_family(families: list[str], family: str) -> str:
    """Returns the marker that tells a defense from others of its colour."""
    number = max(families.index(family) - (families[0] == UNDEFENDED), 0)
    return _MARKERS[number // len(_COLOURS) % len(_MARKERS)]


def _key(marker: str, label: str, colour: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, linestyle="none", label=label)


def draw_confidence_over_training(records: Sequence[Record]) -> Figure:
    """Draws how sure the victims get of the adversarial class, epoch by epoch.

    A panel for each recipe and scenario, a line for each defense (dashed where the adversary is
    adaptive): the mean over trials, with a band of its standard error. Records without a history
    are left out.

    Args:
        records: as the experiment writes them.
    """
    records = [record for record in records if record.get("confidence_by_epoch")]
    cells = summary.group(records, "recipe", "scenario", "adversary", "defense")
    colours = _colours(_defenses(records))
    panels = list(dict.fromkeys(cell[:2] for cell in cells))
    figure, axes = _panels(len(panels))
    for axis, panel in zip(axes, panels, strict=True):
        for (*attack, adversary, defense), inside in cells.items():
            if tuple(attack) == panel:
                style = "--" if adversary == _ADAPTIVE else "-"
                _draw_history(axis, inside, color=colours[defense], linestyle=style)
        axis.set_title(" · ".join(panel), fontsize=10)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.3)
    _label_first(axes, "confidence in the adversarial class")
    _add_legend(figure, colours, records, lambda name: {"linestyle": name})
    return figure


def _draw_history(axis: Axes, records: list[Record], **style: Any) -> None:
    mean, error = _history(records)
    epochs = np.arange(1, len(mean) + 1)
    # A history of one epoch is a point, which a line does not show.
    axis.plot(epochs, mean, marker="o" if len(mean) == 1 else None, linewidth=1.6, **style)
    axis.fill_between(
        epochs, mean - error, mean + error, color=style["color"], alpha=0.18, linewidth=0
    )


def _history(records: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean over trials of each epoch, and its standard error; 0 for one trial."""
    length = max(len(record["confidence_by_epoch"]) for record in records)
    mean, error = np.empty(length), np.empty(length)
    for epoch in range(length):
        values = [
            {**record, "_value": record["confidence_by_epoch"][epoch]}
            for record in records
            if epoch < len(record["confidence_by_epoch"])
        ]
        both = summary.estimate(list(summary.by_trial(values, "_value").values()))
        mean[epoch], error[epoch] = both.mean, np.nan_to_num(both.error)
    return mean, error


def draw_confidence_pairs(records: Sequence[Record]) -> Figure:
    """Draws each trial's confidence in the adversarial class undefended (x) and defended (y).

    A panel for each defense; trials under the diagonal are those that it helps. A colour for each
    recipe and scenario, hollow where the adversary is adaptive. The undefended side is that of the
    standard adversary.

    Args:
        records: as the experiment writes them.
    """
    cells = summary.group(records, "recipe", "scenario", "adversary", "defense")
    defenses = [name for name in _defenses(records) if name != UNDEFENDED]
    attacks = dict.fromkeys(cell[:2] for cell in cells)
    colours = {attack: _COLOURS[i % len(_COLOURS)] for i, attack in enumerate(attacks)}
    figure, axes = _panels(len(defenses))
    for axis, name in zip(axes, defenses, strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle=":")
        for (recipe, scenario, adversary, defense), inside in cells.items():
            undefended = cells.get((recipe, scenario, summary.STANDARD, UNDEFENDED), [])
            both = summary.pairs(undefended, inside, "target_confidence")
            if defense == name and both:
                colour = colours[recipe, scenario]
                face = "none" if adversary == _ADAPTIVE else colour
                x, y = zip(*both, strict=True)
                axis.scatter(x, y, s=28, edgecolors=colour, facecolors=face)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("confidence undefended")
        axis.set_xlim(-0.03, 1.03)
        axis.set_ylim(-0.03, 1.03)
        axis.set_aspect("equal")
        axis.grid(alpha=0.3)
    _label_first(axes, "confidence defended")
    names = {" · ".join(attack): colour for attack, colour in colours.items()}
    _add_legend(
        figure,
        names,
        records,
        lambda line: {
            "linestyle": "none",
            "marker": "o",
            "markerfacecolor": "none" if line == "--" else "grey",
        },
    )
    return figure


def draw_poisons(
    clean: np.ndarray, poisoned: np.ndarray, targets: np.ndarray, *, title: str
) -> Figure:
    """Draws poisons before and after brewing, the perturbation between, and their targets.

    Args:
        clean: (n, height, width, channels) in [0, 1], with 1 or 3 channels; the first 8 are shown.
        poisoned: the same images after brewing.
        targets: the targets' images, of which the first 2 are shown; may be empty.
        title: the text above.

    Raises:
        ValueError: there is no poison, or the shapes differ.
    """
    if clean.shape != poisoned.shape or clean.ndim != 4 or not len(clean):
        raise ValueError(
            "Expected `clean` and `poisoned` to be (n, height, width, channels) with n at least 1, "
            f"both of one shape. Received: {clean.shape} and {poisoned.shape}"
        )
    clean, poisoned = clean[:_MOST_POISONS], poisoned[:_MOST_POISONS]
    targets = targets[:_MOST_TARGETS]
    perturbation = poisoned - clean
    largest = float(np.abs(perturbation).max()) or 1.0
    rows = [
        ("clean", clean),
        (f"perturbation\n× {0.5 / largest:.3g}", 0.5 + perturbation / (2 * largest)),
        ("poisoned", poisoned),
    ]
    columns = len(clean) + len(targets)
    # A narrow picture would have no room for the title.
    figure = Figure(figsize=(max(4.0, 1.1 * columns + 1), 4.1), layout="constrained")
    figure.suptitle(title, fontsize=10, parse_math=False)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (name, images) in enumerate(rows):
        for axis, image in zip(axes[row], images, strict=False):
            _show(axis, image)
        axes[row, 0].set_ylabel(name, fontsize=9)
    for index, image in enumerate(targets):
        axis = axes[0, len(clean) + index]
        _show(axis, image)
        axis.set_title("target", fontsize=9)
    return figure


def draw_contact_sheet(rows: Sequence[tuple[str, np.ndarray, Sequence[str]]]) -> PIL.Image.Image:
    """Draws rows of images, each with its name above it and a caption under every image.

    Many rows are drawn smaller, and stand beside each other: the time is linear in their number.

    Args:
        rows: of each its name, its images, (n, height, width, channels), uint8 in 0-255 or floats
            in [0, 1], with 1 or 3 channels, and a caption for each image.

    Raises:
        ValueError: no row has an image.
    """
    columns = max((len(images) for _, images, _ in rows), default=0)
    if not columns:
        raise ValueError("Expected images for a contact sheet. Received none.")
    side, text = (96, 12) if len(rows) <= _MOST_ROWS else (48, 8)
    fonts = [PIL.ImageFont.truetype(_FONT, size) for size in (text + 2, text)]
    gap = text // 2
    width, height = columns * (side + gap) + gap, side + 3 * text + 2 * gap
    in_a_column = math.ceil(len(rows) / math.ceil(len(rows) / _MOST_ROWS))
    size = (math.ceil(len(rows) / in_a_column) * width, in_a_column * height)
    sheet = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for number, (name, images, captions) in enumerate(rows):
        left, top = number // in_a_column * width + gap, number % in_a_column * height
        draw.text((left, top), _shorten(name, fonts[0], width - 2 * gap), "black", fonts[0])
        for image, caption in zip(images, captions, strict=True):
            sheet.paste(_thumbnail(image, side), (left, top + text + gap))
            caption = _shorten(caption, fonts[1], side + gap)
            draw.text((left, top + text + gap + side), caption, "black", fonts[1])
            left += side + gap
    return sheet


def _thumbnail(image: np.ndarray, side: int) -> PIL.Image.Image:
    """Returns an image with this longer side; the pixels of a small one stay squares."""
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    picture = PIL.Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    scale = side / max(picture.size)
    way = PIL.Image.Resampling.NEAREST if scale > 1 else PIL.Image.Resampling.BOX
    return picture.resize([max(1, round(scale * each)) for each in picture.size], way)


def _shorten(text: str, font: PIL.ImageFont.FreeTypeFont, width: int) -> str:
    """Returns the start of a text that fits, on one line."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    longer = bisect.bisect_right(
        range(len(text)), width, key=lambda length: math.ceil(font.getlength(f"{text[:length]}…"))
    )
    return f"{text[: max(longer - 1, 0)]}…"


def _show(axis: Axes, image: np.ndarray) -> None:
    shown = np.clip(image[..., 0] if image.shape[-1] == 1 else image, 0, 1)
    axis.imshow(shown, cmap="gray", vmin=0, vmax=1)
    axis.set_axis_on()
    axis.set_xticks([])
    axis.set_yticks([])


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure with panels in rows, and the panels; none at all for a count of 0."""
    columns = min(max(count, 1), _MOST_COLUMNS)
    rows = math.ceil(count / columns)
    # The last inches are the legend's.
    figure = Figure(figsize=(_PANEL * columns + 0.6, 3.6 * max(rows, 1) + 0.9))
    figure.set_layout_engine("constrained")
    if not count:
        return figure, []
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def _label_first(axes: Sequence[Axes], text: str) -> None:
    for axis in axes[::_MOST_COLUMNS]:
        axis.set_ylabel(text)


def _add_legend(
    figure: Figure,
    colours: dict[str, str],
    records: Sequence[Record],
    style: Callable[[str], dict[str, Any]],
) -> None:
    """Names the colours, and the two kinds of adversary where there are two."""
    handles = [_patch(colour, name) for name, colour in colours.items()]
    adversaries = dict.fromkeys(str(record["adversary"]) for record in records)
    if _ADAPTIVE in adversaries:
        for name in adversaries:
            look = style("--" if name == _ADAPTIVE else "-")
            handles.append(Line2D([], [], color="grey", label=f"{name} adversary", **look))
    if handles:
        columns = 1 if len(figure.axes) == 1 else 3
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
        )


def _patch(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, linewidth=5, label=summary.title(label))


def _colours(defenses: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each defense, black for none."""
    others = [name for name in defenses if name != UNDEFENDED]
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(others)}
    return {UNDEFENDED: _BLACK, **colours} if len(others) < len(list(defenses)) else colours


def _defenses(records: Iterable[Record]) -> list[str]:
    names = dict.fromkeys(str(record["defense"]) for record in records)
    return sorted(names, key=lambda name: name != UNDEFENDED)


def _attack_name(row: Row) -> str:
    return f"{row.recipe} · {row.scenario}"
