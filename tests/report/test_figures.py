"""Figures: what is drawn where, and that all of them can be drawn."""

import io

import numpy as np
import pytest
from victims_of_trials import record, trials

from tfpoison.report import estimates as summary
from tfpoison.report import figures, page


def render(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    return buffer.getvalue()


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(axis):
    return [container.lines[0].get_xydata().tolist()[0] for container in axis.containers]


def test_success_stands_against_accuracy():
    records = trials([1, 1, 1, 0]) + trials([0] * 4, defense="x", adversary="adaptive")
    figure = figures.draw_success_against_accuracy(summary.summarise(records))
    standard, adaptive = figure.axes
    np.testing.assert_allclose(points(standard), [[60, 75]])
    # What undefended networks suffer stands in both.
    np.testing.assert_allclose(points(adaptive), [[60, 75], [60, 0]])
    assert [axis.get_title() for axis in figure.axes] == [
        "standard adversary",
        "adaptive adversary",
    ]
    assert legend(figure) == ["undefended", "x"]
    assert render(figure)


def test_settings_of_one_defense_are_a_curve():
    records = trials([1, 1]) + trials([1, 0], defense="x(poison_fraction=0.25)")
    records += trials([0, 0], defense="x") + trials([1, 0], defense="y+z")
    figure = figures.draw_success_against_accuracy(summary.summarise(records))
    (axis,) = figure.axes
    curves = [line.get_xydata().tolist() for line in axis.lines if len(line.get_xydata()) == 2]
    assert [[60, 50], [60, 0]] in curves
    assert [text.get_text() for text in axis.texts] == ["p=0.25"]
    assert legend(figure) == ["undefended", "x", "y+z"]
    assert render(figure)


def test_many_defenses_can_be_told_apart():
    names = [f"defense_{number}" for number in range(20)]
    records = trials([1]) + [each for name in names for each in trials([0], defense=name)]
    figure = figures.draw_success_against_accuracy(summary.summarise(records))
    looks = {(key.get_color(), key.get_marker()) for key in figure.legends[0].get_lines()}
    assert len(looks) == 21


def test_several_recipes_have_markers_of_their_own():
    records = trials([1]) + trials([0], recipe="metapoison", defense="x")
    figure = figures.draw_success_against_accuracy(summary.summarise(records))
    assert legend(figure) == [
        "undefended",
        "x",
        "gradient_matching · from_scratch",
        "metapoison · from_scratch",
    ]


def test_a_single_trial_can_be_drawn():
    assert render(figures.draw_success_against_accuracy(summary.summarise([record()])))


def test_confidence_is_averaged_over_trials():
    histories = [[0.2, 0.4], [0.4, 0.8, 0.6]]
    records = [
        *(record(trial, confidence_by_epoch=history) for trial, history in enumerate(histories)),
        record(0, defense="x", adversary="adaptive", confidence_by_epoch=[0.1, 0.1]),
        record(0, scenario="transfer", confidence_by_epoch=[0.5]),
        record(0, recipe="without_history", confidence_by_epoch=[]),
    ]
    figure = figures.draw_confidence_over_training(records)
    first, second = figure.axes
    undefended, defended = first.lines
    # The second trial alone has a third epoch.
    np.testing.assert_allclose(undefended.get_xydata(), [[1, 0.3], [2, 0.6], [3, 0.6]])
    assert (undefended.get_linestyle(), defended.get_linestyle()) == ("-", "--")
    # Errors: half of the differences 0.2 and 0.4; none for the trial that is alone.
    band = first.collections[0].get_paths()[0].vertices
    for corner in ([1, 0.2], [1, 0.4], [2, 0.4], [2, 0.8], [3, 0.6]):
        assert np.isclose(band, corner).all(axis=1).any()
    assert second.get_title() == "gradient_matching · transfer"
    assert legend(figure) == ["undefended", "x", "standard adversary", "adaptive adversary"]
    assert render(figure)


def test_confidences_are_paired_by_trial():
    undefended = [record(trial, target_confidence=0.9 - 0.1 * trial) for trial in range(3)]
    defended = [record(trial, defense="x", target_confidence=0.1 * trial) for trial in (2, 1, 5)]
    figure = figures.draw_confidence_pairs(undefended + defended)
    (axis,) = figure.axes
    np.testing.assert_allclose(axis.collections[0].get_offsets(), [[0.8, 0.1], [0.7, 0.2]])
    assert axis.get_title() == "x"
    assert render(figure)


@pytest.mark.parametrize("draw", ["draw_confidence_over_training", "draw_confidence_pairs"])
def test_nothing_to_draw_is_an_empty_figure(draw):
    assert not getattr(figures, draw)([record()]).axes


@pytest.mark.parametrize("channels, count, targets", [(3, 10, 3), (1, 1, 0)])
def test_poisons_are_drawn_with_their_targets(channels, count, targets):
    clean = np.random.default_rng(0).uniform(size=(count, 6, 6, channels))
    poisoned = clean - 0.05
    figure = figures.draw_poisons(clean, poisoned, clean[:targets], title="trial $0")
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 3 * min(count, 8) + min(targets, 2)
    labels = {axis.get_ylabel() for axis in shown} - {""}
    # 0.05 is enlarged to the 0.5 that there is around grey.
    assert labels == {"clean", "perturbation\n× 10", "poisoned"}
    assert [axis.get_title() for axis in shown].count("target") == min(targets, 2)
    assert render(figure)


def test_images_without_a_perturbation_can_be_drawn():
    images = np.full((2, 4, 4, 3), 0.5)
    assert render(figures.draw_poisons(images, images, images, title=""))


@pytest.mark.parametrize("clean, poisoned", [((2, 4, 4, 3), (1, 4, 4, 3)), ((0, 4, 4, 3),) * 2])
def test_poisons_that_do_not_fit_are_refused(clean, poisoned):
    with pytest.raises(ValueError, match=r"Expected `clean` and `poisoned`.*Received: \("):
        figures.draw_poisons(np.zeros(clean), np.zeros(poisoned), np.zeros((0, 4, 4, 3)), title="")


@pytest.mark.parametrize("classes", [1, 100, 250])
def test_the_contact_sheet_shows_every_class(classes):
    colours = np.stack([np.arange(classes), np.full(classes, 77), np.full(classes, 99)], axis=1)
    images = np.tile(colours.astype(np.uint8)[:, None, None, None], (1, 2, 3, 5, 1))
    rows = [("a long name " * 30, image, ["1 (2)", "a long caption " * 9]) for image in images]
    sheet = figures.draw_contact_sheet(rows)
    # Programs that show pictures do not take longer sides.
    assert max(sheet.size) < 2**15
    red, green, blue = np.moveaxis(np.asarray(sheet), -1, 0)
    found = np.bincount(red[(green == 77) & (blue == 99)], minlength=classes)
    side = 96 if classes <= 100 else 48
    assert (found == 2 * side * round(side * 3 / 5)).all()
    if classes == 1:
        assert page.png(sheet) == page.png(figures.draw_contact_sheet(rows))


def test_the_contact_sheet_takes_floats_and_grey():
    grey = figures.draw_contact_sheet([("a", np.full((1, 4, 4, 1), 0.5), ["b"])])
    assert (np.asarray(grey) == 128).all(axis=2).sum() == 96 * 96
    with pytest.raises(ValueError, match="Received none"):
        figures.draw_contact_sheet([])
