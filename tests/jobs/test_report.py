"""The report: its files, that its page stands alone, and that it is the same each time."""

import json
import re

import numpy as np
import pytest
from victims_of_trials import record, trials

from tfpoison.jobs.report import ReportJob
from tfpoison.report import pictures
from tfpoison.report.experiment import ExperimentReport

FILES = [
    "comparison.csv",
    "comparison.md",
    "confidence_over_training.png",
    "confidence_pairs.png",
    "report.html",
    "results.csv",
    "success_against_accuracy.png",
    "table.md",
]


def write(directory, records):
    lines = [json.dumps(each) for each in records]
    (directory / "records.jsonl").write_text("\n".join([*lines, '{"recipe": "torn']))


def save(directory):
    return ExperimentReport.read(directory).save(directory / "report")


def make(directory):
    history = {"confidence_by_epoch": [0.1, 0.5]}
    write(directory, trials([1, 1, 0], **history) + trials([0] * 3, defense="<b>x</b>", **history))
    (directory / "config.flags").write_text("--attack=<b>&\n--trials=3\n")
    return directory


@pytest.fixture
def experiment(tmp_path):
    return make(tmp_path)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """An experiment with previews, and the paths of its report."""
    directory = make(tmp_path_factory.mktemp("reported"))
    (directory / "previews").mkdir()
    image = pictures.draw_rows([("a", np.zeros((1, 2, 2, 1)), ())])
    for index in range(13):
        path = directory / "previews" / f"{index:02d}.png"
        path.write_bytes(pictures.png(image, f"{index}<i>: ε = 16/255"))
    return directory, save(directory)


@pytest.fixture(scope="module")
def text(reported):
    return (reported[0] / "report" / "report.html").read_text()


def test_all_files_are_written(reported):
    directory, written = reported
    assert sorted(path.name for path in written) == FILES
    assert sorted(path.name for path in (directory / "report").iterdir()) == FILES
    assert "| 3 " in (directory / "report" / "table.md").read_text()


def test_text_is_escaped(text):
    assert "<b>" not in text
    assert "&lt;b&gt;x&lt;/<wbr>b&gt;" in text
    assert "--attack=&lt;b&gt;&amp;\n--trials=3" in text
    assert "3 trials" in text and "6 victims" in text and "5.59 %" in text


def test_dollars_are_no_formulas(tmp_path):
    history = {"confidence_by_epoch": [0.1]}
    write(tmp_path, trials([1], **history) + trials([0], defense="mixup(alpha=$_$)", **history))
    save(tmp_path)


def test_two_reports_are_the_same(reported):
    directory, written = reported
    first = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in save(directory)} == first
    assert not any(b"matplotlib" in content.lower() for content in first.values())


def test_shared_brewing_is_counted_once(text):
    # Three trials' poisons for six victims.
    for phase, times in (("brewing", ["3", "20.0", "0.02"]), ("training", ["6", "10.0", "0.02"])):
        line = text.partition(f'scope="row">{phase}</th>')[2].partition("</tr>")[0]
        assert re.findall(r">([\d.]+)</td>", line) == times


def test_previews_are_embedded(text):
    assert "<figcaption>11&lt;i&gt;: ε = 16/255</figcaption>" in text
    assert "12&lt;i" not in text and "1 more are in the files beside this page." in text


def test_figures_without_data_are_left_out_and_removed(experiment):
    save(experiment)
    write(experiment, [{**record(), "confidence_by_epoch": []}])
    (experiment / "config.flags").unlink()
    written = [path.name for path in save(experiment)]
    assert written == ["table.md", "results.csv", "success_against_accuracy.png", "report.html"]
    assert sorted(written) == sorted(path.name for path in (experiment / "report").iterdir())
    text = (experiment / "report" / "report.html").read_text()
    assert "Configuration" not in text and "Trial by trial" not in text


def test_the_job_prints_its_table_and_files(experiment):
    job = ReportJob(experiment)
    job.check()
    text = job.run()
    # 2 of 3: deviation √(1/3), error 1/3.
    assert "66.67 ± 33.33" in text
    assert text.startswith(
        "Undefended, the adversary reached 67 ± 33 % of its targets; with <b>x</b> 0 ± 14 %, at "
        "0.0 points of clean accuracy."
    )
    assert str(experiment / "report" / "report.html") in text
    assert (
        f"<h1>Experiment {experiment.name}</h1>"
        in (experiment / "report" / "report.html").read_text()
    )


def test_each_attack_has_an_answer(tmp_path):
    records = [
        *trials([1, 1], recipe="badnets"),
        *trials([1, 0], recipe="badnets", defense="x"),
        *trials([0, 0], recipe="badnets", defense="evasion(epsilon=0.03137)", clean_accuracy=0.575),
        *trials([1, 0], recipe="badnets", defense="x", adversary="adaptive"),
        {**record(defense="x"), "diverged": "a loss of nan"},
    ]
    assert ExperimentReport(records, "A report").answers == [
        "badnets, from_scratch: Undefended, the adversary reached 100 ± 18 % of its targets; with "
        "the best of 2 defenses, evasion(epsilon=8/255), 0 ± 18 %, at 2.5 points of clean "
        "accuracy; where the adversary is adaptive, with x 50 ± 50 %, at 0.0 points of clean "
        "accuracy.",
        "gradient_matching, from_scratch: No trial was measured.",
    ]


def test_a_directory_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected .* Received: .*no directory"):
        ReportJob(tmp_path / "missing").check()
    with pytest.raises(ValueError, match=r"Expected .*records\.jsonl.* Received: .*has none"):
        ReportJob(tmp_path).check()
    (tmp_path / "records.jsonl").write_text('{"torn')
    with pytest.raises(ValueError, match=r"Expected at least one record .* Received none"):
        ReportJob(tmp_path).run()
