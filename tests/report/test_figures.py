"""Figures: what is drawn where, and that all of them can be drawn."""

import numpy as np
import pytest
from victims_of_trials import record, trials

from tfpoison.report import estimates as summary
from tfpoison.report import figures


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def points(axis):
    return [container.lines[0].get_xydata().tolist()[0] for container in axis.containers]


def drawn(panels):
    """The axes of panels, which can be drawn as they are on a page and in a file."""
    assert all(figures.svg(panel).startswith(b"<svg") for panel in panels)
    assert figures.png(panels).startswith(b"\x89PNG")
    return figures.grid(panels).axes


def test_success_stands_against_accuracy():
    records = trials([1, 1, 1, 0]) + trials([0] * 4, defense="x", adversary="adaptive")
    standard, adaptive = drawn(figures.draw_success_against_accuracy(summary.summarise(records)))
    np.testing.assert_allclose(points(standard), [[60, 75]])
    # What undefended networks suffer stands in both.
    np.testing.assert_allclose(points(adaptive), [[60, 75], [60, 0]])
    assert [standard.get_title(), adaptive.get_title()] == [
        "standard adversary",
        "adaptive adversary",
    ]
    assert legend(adaptive) == ["undefended", "x"]
    assert standard.get_xlim() == adaptive.get_xlim()


def test_settings_of_one_defense_are_a_curve():
    records = trials([1, 1]) + trials([1, 0], defense="x(poison_fraction=0.25)")
    records += trials([0, 0], defense="x") + trials([1, 0], defense="y+z")
    (axis,) = drawn(figures.draw_success_against_accuracy(summary.summarise(records)))
    curves = [line.get_xydata().tolist() for line in axis.lines if len(line.get_xydata()) == 2]
    assert [[60, 50], [60, 0]] in curves
    assert [text.get_text() for text in axis.texts] == ["p=0.25"]
    assert legend(axis) == ["undefended", "x", "y+z"]


def test_many_defenses_can_be_told_apart():
    names = [f"defense_{number}" for number in range(20)]
    records = trials([1]) + [each for name in names for each in trials([0], defense=name)]
    (axis,) = drawn(figures.draw_success_against_accuracy(summary.summarise(records)))
    keys = [container.lines[0] for container in axis.containers]
    assert len({(key.get_color(), key.get_marker()) for key in keys}) == 21
    # The axes keep their size whatever stands below them.
    few = figures.grid(figures.draw_success_against_accuracy(summary.summarise(records[:2])))
    many = axis.get_figure()
    assert many.get_figwidth() == few.get_figwidth()
    for figure in (few, many):
        figure.draw_without_rendering()
    heights = [figure.axes[0].bbox.height / figure.dpi for figure in (few, many)]
    assert heights[1] == pytest.approx(heights[0], rel=0.15)


def test_several_recipes_have_panels_of_their_own():
    records = trials([1]) + trials([0], recipe="metapoison", defense="x")
    first, second = drawn(figures.draw_success_against_accuracy(summary.summarise(records)))
    assert first.get_title() == "gradient_matching · from_scratch"
    assert second.get_title() == "metapoison · from_scratch"
    assert (legend(first), legend(second)) == (["undefended"], ["x"])


def test_a_single_trial_can_be_drawn():
    assert drawn(figures.draw_success_against_accuracy(summary.summarise([record()])))


def test_confidence_is_averaged_over_trials():
    histories = [[0.2, 0.4], [0.4, 0.8, 0.6]]
    records = [
        *(record(trial, confidence_by_epoch=history) for trial, history in enumerate(histories)),
        record(0, defense="x", adversary="adaptive", confidence_by_epoch=[0.1, 0.1]),
        record(0, scenario="transfer", confidence_by_epoch=[0.5]),
        record(0, recipe="without_history", confidence_by_epoch=[]),
    ]
    first, second = drawn(figures.draw_confidence_over_training(records))
    undefended, defended = first.lines
    # The second trial alone has a third epoch.
    np.testing.assert_allclose(undefended.get_xydata(), [[1, 0.3], [2, 0.6], [3, 0.6]])
    assert (undefended.get_linestyle(), defended.get_linestyle()) == ("-", "--")
    # Errors: half of the differences 0.2 and 0.4; none for the trial that is alone.
    band = first.collections[0].get_paths()[0].vertices
    for corner in ([1, 0.2], [1, 0.4], [2, 0.4], [2, 0.8], [3, 0.6]):
        assert np.isclose(band, corner).all(axis=1).any()
    assert first.get_title() == "x\ngradient_matching · from_scratch"
    assert second.get_title() == "gradient_matching · transfer"
    assert legend(first) == ["undefended", "defended, adaptive adversary"]


def test_confidences_are_paired_by_trial():
    undefended = [record(trial, target_confidence=0.9 - 0.1 * trial) for trial in range(3)]
    defended = [record(trial, defense="x", target_confidence=0.1 * trial) for trial in (2, 1, 5)]
    (axis,) = drawn(figures.draw_confidence_pairs(undefended + defended))
    np.testing.assert_allclose(axis.collections[0].get_offsets(), [[0.8, 0.1], [0.7, 0.2]])
    assert axis.get_title() == "x"


@pytest.mark.parametrize("draw", ["draw_confidence_over_training", "draw_confidence_pairs"])
def test_nothing_to_draw_is_no_panel(draw):
    assert getattr(figures, draw)([record()]) == []


def test_a_training_is_drawn_epoch_by_epoch():
    (axis,) = drawn([figures.draw_curves({"a": [0.5, 0.25], "b": [1.0, float("nan")]}, "loss")])
    assert axis.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.25]]
    assert (axis.get_title(), legend(axis)) == ("loss", ["a", "b"])
