"""Tables from records: means and errors worked out by hand, missing cells, torn lines."""

import csv
import io
import math

import pytest
from victims_of_trials import record, trials

from tfpoison.report import estimates as summary
from tfpoison.report import tables


def test_the_error_is_over_trials_and_not_over_victims():
    victims = [record(0, success=1.0), record(0, victim=1, success=0.0), record(1, success=1.0)]
    (row,) = summary.summarise(victims)
    assert (row.trials, row.victims) == (2, 3)
    # Trials: 50 % and 100 %. Deviation 50/√2, error 50/√2/√2 = 25.
    assert row.success.mean == pytest.approx(75)
    assert row.success.error == pytest.approx(25)


def shared(trial, threat, defense="none", **changes):
    more = {"training": "a+b", "threats": 4, "target_ids": [10 * trial + threat]}
    return record(trial, threat=threat, defense=defense, **more, **changes)


def test_outcomes_of_one_training_are_counted_but_not_as_independent():
    # Trial 0: 1, 1, 1, 0. Trial 1: 0, 0, 0, 0.
    records = [shared(0, threat, success=float(threat < 3)) for threat in range(4)]
    records += [shared(1, threat, success=0.0) for threat in range(4)]
    (row,) = summary.summarise(records)
    assert (row.trials, row.outcomes, row.sharing, row.victims) == (2, 8, 4, 2)
    assert row.success.mean == pytest.approx(37.5)
    # Of the means 75 and 0: 75/√2/√2. Over 8 outcomes it would be 18.3.
    assert row.success.error == pytest.approx(37.5)
    alone = summary.summarise(records[:4])[0].success
    # 3 of 4 in one trial: as if independent, which the note says.
    assert (alone.mean, alone.error) == (pytest.approx(75), pytest.approx(25))
    # They have one network between them.
    assert summary.summarise(records[:4])[0].clean_accuracy.text() == "60.00"
    # Means that agree do not make outcomes certain.
    halves = [each | {"success": float(each["threat"] % 2)} for each in records]
    assert summary.summarise(halves)[0].success.error == pytest.approx(50 / math.sqrt(7))
    heading, line = tables.table([row])
    assert line[heading.index("trials") :][:3] == ["2", "8", "4"]
    assert heading[heading.index("trials") :][:3] == ["trials", "outcomes", "in one training"]


def test_adversaries_of_one_training_are_paired_one_by_one():
    undefended = [shared(0, threat, success=1.0) for threat in range(4)]
    defended = [shared(0, threat, "x", success=float(threat == 0)) for threat in range(3)]
    (result,) = summary.compare(undefended + defended)
    assert (result.pairs, result.prevented, result.caused) == (3, 2, 0)
    # One training took its time once, whatever recipes are in it; a brewing is each adversary's.
    others = [each | {"recipe": "other"} for each in undefended]
    rows = {line[0]: line[1] for line in summary.times(undefended + others)[1:]}
    assert rows == {"surrogates": "8", "brewing": "8", "training": "1"}


def test_means_and_errors():
    # 3 of 4: deviation √(4/3 · 0.75 · 0.25) = 0.5, error 0.5/√4.
    records = trials([1, 1, 1, 0])
    records[0]["clean_accuracy"] = 0.8
    records[0]["seconds"] = {"brewing": 40.0, "training": 30.0}
    (row,) = summary.summarise(records)
    assert row.success == summary.Estimate(pytest.approx(75), pytest.approx(25))
    # 80, 60, 60, 60: mean 65, deviation √(300/3) = 10, error 10/√4.
    assert row.clean_accuracy == summary.Estimate(pytest.approx(65), pytest.approx(5))
    assert row.target_confidence.text() == "80.00 ± 0.00"
    assert row.target_class_accuracy.mean == pytest.approx(50)
    assert row.poison_class_accuracy.mean == pytest.approx(70)
    # The first training paid for the tracing: 30, 10, 10, 10.
    assert row.training_seconds == 10
    assert row.brewing_seconds == pytest.approx(25)


@pytest.mark.parametrize("success, text", [(0, "0.00 ± 5.59"), (1, "100.00 ± 5.59")])
def test_trials_that_agree_have_the_error_of_the_paper(success, text):
    (row,) = summary.summarise(trials([success] * 20))
    assert row.success.text() == text


def test_shares_of_many_targets_that_agree_have_a_small_error():
    # 100/√2500 = 2 in place of 100: 2/4/√20.
    records = [*trials([1] * 20, targets=2500), *trials([0] * 20, defense="x", targets=2500)]
    row, _ = summary.summarise(records)
    assert row.success.text() == "100.00 ± 0.11"
    assert summary.compare(records)[0].success.text() == "-100.00 ± 0.22"


def test_a_single_trial_has_no_error():
    records = [record(), record(victim=1), record(defense="x")]
    row = summary.summarise(records)[0]
    assert row.success.text() == "100.00"
    assert row.clean_accuracy.text() == "60.00"
    assert math.isnan(row.success.error)
    assert summary.compare(records)[0].success.text() == "0.00"
    for text in (tables.csv_text([row]), tables.csv_text(summary.compare(records))):
        (line,) = csv.DictReader(io.StringIO(text))
        assert line["success_error"] == ""


def test_victims_that_diverged_are_no_trials():
    unknown = {"success": None, "clean_accuracy": None, "diverged": "a loss of nan"}
    records = [*trials([1, 0]), record(2, **unknown), record(0, victim=1, **unknown)]
    records += [*trials([0], defense="x"), record(1, defense="x", **unknown)]
    records += [record(0, defense="y", **unknown)]
    rows = summary.summarise(records)
    assert [(row.trials, row.victims, row.diverged) for row in rows] == [
        (2, 2, 2),
        (1, 1, 1),
        (0, 0, 1),
    ]
    assert rows[0].success.mean == pytest.approx(50)
    assert rows[2].success.text() == summary.MISSING
    # Of the pairs, the second has a side that diverged.
    assert [each.pairs for each in summary.compare(records)] == [1]
    heading, *lines = tables.table(rows)
    assert [line[heading.index("diverged")] for line in lines] == ["2", "1", "1"]
    assert [line["diverged"] for line in csv.DictReader(io.StringIO(tables.csv_text(rows)))] == [
        *("2", "1", "1")
    ]
    assert "diverged" not in tables.table(summary.summarise(trials([1])))[0]


def test_what_no_record_holds_is_missing():
    bare = {name: record()[name] for name in ("recipe", "scenario", "adversary", "defense")}
    (row,) = summary.summarise([{**bare, "trial": 0, "success": float("nan")}])
    assert row.success.text() == summary.MISSING
    assert math.isnan(row.training_seconds)
    (line,) = csv.DictReader(io.StringIO(tables.csv_text([row])))
    assert line["success"] == line["success_error"] == line["training_seconds"] == ""


def test_rows_are_in_the_order_of_appearance():
    cells = [("b", "none"), ("a", "x"), ("b", "x")]
    rows = summary.summarise(record(recipe=recipe, defense=name) for recipe, name in cells * 2)
    assert [(row.recipe, row.defense) for row in rows] == cells


def test_pairs_of_the_same_trial_are_compared():
    undefended = trials([1, 1, 0, 1], target_confidence=0.9)
    defended = trials([0, 1, 1, 0], defense="x", target_confidence=0.5)
    defended[0]["target_confidence"] = 0.1
    # Trial 7 was run defended alone, and trial 3 undefended alone.
    defended[3]["trial"] = 7
    (result,) = summary.compare(undefended + defended)
    assert (result.pairs, result.prevented, result.caused) == (3, 1, 1)
    # -100, 0, 100: deviation 100, error 100/√3.
    assert result.success == summary.Estimate(0, pytest.approx(100 / math.sqrt(3)))
    # -80, -40, -40: mean -160/3, deviation √(1600/3), error √(1600/9) = 40/3.
    assert result.target_confidence.mean == pytest.approx(-160 / 3)
    assert result.target_confidence.error == pytest.approx(40 / 3)


def test_trials_of_other_targets_are_no_pair():
    """A grid that goes on with networks of another machine draws other targets."""
    undefended = [record(trial, target_ids=[trial], adversarial_class="a") for trial in range(4)]
    defended = [each | {"defense": "x", "success": 0.0} for each in undefended]
    defended[1]["target_ids"] = [7]
    defended[2]["adversarial_class"] = "b"
    (result,) = summary.compare(undefended + defended)
    assert (result.pairs, result.prevented) == (2, 2)


def test_records_stand_in_the_order_of_the_grid():
    flags = {"recipes": "b,a", "adversaries": "standard,adaptive", "defenses": "none,y,x"}
    flags["repairs"] = "anp,universal"
    ordered = [
        record(0, recipe="b"),
        record(1, recipe="b"),
        record(0, recipe="b", defense="none, repair=anp"),
        record(0, recipe="b", defense="none, repair=universal"),
        record(0, recipe="b", defense="y"),
        record(0, recipe="b", defense="x"),
        record(0, recipe="b", defense="x", victim=1),
        record(0, recipe="b", defense="other"),
        record(0, recipe="b", adversary="adaptive", defense="y"),
        record(0, recipe="a"),
    ]
    assert summary.in_grid_order(reversed(ordered), flags) == ordered


def test_differences_that_agree_are_not_certain():
    (result,) = summary.compare(trials([1] * 4) + trials([0] * 4, defense="x"))
    # They lie between -100 and 100: a quarter of 200, divided by √4.
    assert result.success.text() == "-100.00 ± 25.00"
    assert result.prevented == 4


def test_an_adaptive_adversary_is_compared_with_the_standard_one_undefended():
    adaptive = trials([0, 1], defense="x", adversary="adaptive")
    (result,) = summary.compare(trials([1, 1]) + adaptive)
    assert (result.adversary, result.pairs, result.prevented) == ("adaptive", 2, 1)


def test_a_defense_without_an_undefended_side_has_no_pairs():
    (result,) = summary.compare(trials([0, 1], defense="x"))
    assert (result.pairs, result.prevented, result.caused) == (0, 0, 0)
    assert result.success.text() == summary.MISSING


def test_the_table_has_a_line_for_each_cell_of_the_grid():
    records = [
        *trials([1, 0, 0, 0]),
        *trials([1, 1, 1, 0], defense="x"),
        *trials([0, 0], defense="x", adversary="adaptive"),
    ]
    lines = tables.markdown(tables.table(summary.summarise(records))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heading, rule, undefended, standard, adaptive = cells
    assert heading[2:] == [
        *("adversary", "defense", "success %", "accuracy %", "trials", "training s", "cost")
    ]
    assert set("".join(rule)) == {"-"}
    assert undefended[2:5] == ["standard", "undefended", "25.00 ± 25.00"]
    assert standard[2:5] == ["standard", "x", "75.00 ± 25.00"]
    assert standard[6:] == ["4", "10.0", "1.0"]
    # Two trials that agree: 25/√2.
    assert adaptive[2:5] == ["adaptive", "x", "0.00 ± 17.68"]
    assert adaptive[6:] == ["2", "10.0", "1.0"]


def test_a_page_has_a_narrow_table_of_each_attack():
    records = [*trials([1, 0]), *trials([0, 0], defense="x", adversary="adaptive")]
    cells = tables.table(summary.summarise(records))
    standard, adaptive = tables.by_attack(cells, ("defense", "success %", "trials"))
    assert standard == (
        "gradient_matching · from_scratch · standard adversary",
        [["defense", "success %", "trials"], ["undefended", "50.00 ± 50.00", "2"]],
    )
    assert adaptive[1][1] == ["x", "0.00 ± 17.68", "2"]
    assert tables.by_attack(cells)[0][1][0] == cells[0][3:]


@pytest.mark.parametrize(
    ("defense", "title"),
    [
        ("none", "undefended"),
        ("evasion(epsilon=0.03137)", "evasion(epsilon=8/255)"),
        (
            "a(random_epsilon=.1255;b=1)+c(epsilon=1)",
            "a(random_epsilon=32/255;b=1)+c(epsilon=255/255)",
        ),
        # 31.9 grey levels were not meant as 32, and a share of images is none.
        ("evasion(epsilon=0.125)", "evasion(epsilon=0.125)"),
        ("epic(share=0.03137)", "epic(share=0.03137)"),
        ("noise(epsilon=16/255)", "noise(epsilon=16/255)"),
    ],
)
def test_shares_of_the_pixel_range_are_shown_in_grey_levels(defense, title):
    assert summary.title(defense) == title


def test_names_cannot_break_a_table():
    text = tables.markdown(tables.table(summary.summarise([record(recipe="<b>|&")])))
    assert "| &lt;b>\\|&amp; |" in text
    assert "<" not in text


def test_many_defenses_have_a_line_each():
    records = [each for name in ("none", *"abcd") for each in trials([1, 0], defense=name)]
    records += trials([0, 0], defense="e", removed_share=0.25, removed_poisons=0.5)
    heading, *lines = tables.table(summary.summarise(records))
    assert heading[3:8] == ["defense", "success %", "accuracy %", "removed %", "poisons removed %"]
    assert [line[3] for line in lines] == ["undefended", *"abcde"]
    assert lines[0][6:8] == ["–", "–"]
    assert lines[-1][6:8] == ["25.00 ± 0.00", "50.00 ± 0.00"]


def test_right_answers_on_targets_have_a_column_where_they_are_known():
    """Records of earlier versions lack them."""
    records = trials([1, 0]) + trials([1, 0], defense="x", robust_accuracy=0.25)
    heading, undefended, defended = tables.table(summary.summarise(records))
    assert heading[4:7] == ["success %", "robust accuracy %", "accuracy %"]
    assert (undefended[5], defended[5]) == ("–", "25.00 ± 0.00")


def test_what_defenses_find_has_a_table():
    filtered = {"removed_share": 0.1, "removed_poisons": 0.75, "removed_clean": 0.0625}
    records = trials([1, 0]) + trials([1, 0], defense="f", **filtered, detection_auc=0.875)
    records += trials([1, 0], defense="epic", **filtered)
    assert tables.detection_table(summary.summarise(records[:2])) == []
    heading, *lines = tables.detection_table(summary.summarise(records))
    assert heading[3:] == ["defense", "AUC %", "true positives %", "false positives %", "removed %"]
    found = ["75.00 ± 0.00", "6.25 ± 0.00", "10.00 ± 0.00"]
    assert [line[3:] for line in lines] == [["f", "87.50 ± 0.00", *found], ["epic", "–", *found]]


def test_the_cost_is_the_ratio_to_undefended_training():
    def timed(defense, *times, **more):
        return [
            record(trial, defense=defense, seconds={"training": time}, **more)
            for trial, time in enumerate(times)
        ]

    records = timed("none", 30, 2, 2) + timed("x", 80, 10, 6)
    records += timed("x", 3, adversary="adaptive") + timed("x", 9, recipe="metapoison")
    rows = summary.summarise(records)
    assert [row.training_cost for row in rows[:3]] == [1, 5, 1.5]
    assert math.isnan(rows[3].training_cost)


def test_a_repair_takes_its_time_beside_that_of_the_one_training_it_follows():
    plain = record(0, defense="none", seconds={"training": 10.0})
    repaired = [
        record(0, defense=f"none, repair={name}", seconds={"training": 10.0, "repair": took})
        for name, took in [("anp", 2.0), ("universal", 5.0)]
    ]
    rows = summary.summarise([plain, *repaired])
    assert [row.training_seconds for row in rows] == [10, 12, 15]
    assert [row.training_cost for row in rows] == [1, 1.2, 1.5]
    lines = summary.times([plain, *repaired])[1:]
    assert [line[:2] for line in lines] == [["training", "1"], ["repair", "2"]]


def test_a_family_is_a_defense_without_settings():
    assert summary.family("mixup(ways=4)+dp_sgd(noise=0.1;clip_norm=1)") == "mixup+dp_sgd"


def test_the_csv_has_all_fields():
    (line,) = csv.DictReader(io.StringIO(tables.csv_text(summary.summarise(trials([1, 0])))))
    assert line["recipe"] == "gradient_matching"
    assert (line["success"], line["success_error"]) == ("50.0000", "50.0000")
    assert line["brewing_seconds"] == "20.0000"
    assert len(line) == 36
    assert tables.csv_text([]) == ""
