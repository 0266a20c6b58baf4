"""The report: its files, that its page stands alone, and that it is the same each time."""

import html.parser
import json

import pytest
from victims_of_trials import record, trials

from tfpoison.jobs.report import ReportJob, write_report
from tfpoison.report.estimates import summarise
from tfpoison.report.figures import draw_success_against_accuracy

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
VOID = {"meta", "img"}


def write(directory, records):
    lines = [json.dumps(each) for each in records]
    (directory / "records.jsonl").write_text("\n".join([*lines, '{"recipe": "torn']))


@pytest.fixture
def experiment(tmp_path):
    history = {"confidence_by_epoch": [0.1, 0.5]}
    write(tmp_path, trials([1, 1, 0], **history) + trials([0, 0, 0], defense="<b>x</b>", **history))
    (tmp_path / "config.flags").write_text("--attack=<b>&\n--trials=3\n")
    return tmp_path


class Page(html.parser.HTMLParser):
    """The elements of a page; fails where one is not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_all_files_are_written(experiment):
    written = write_report(experiment, title="A report")
    assert sorted(path.name for path in written) == FILES
    assert sorted(path.name for path in (experiment / "report").iterdir()) == FILES
    assert "| 3 " in (experiment / "report" / "table.md").read_text()


def test_the_page_stands_alone(experiment):
    write_report(experiment, title="A <report>")
    text = (experiment / "report" / "report.html").read_text()
    elements = Page(text).elements
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) == 3
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(image["alt"] for image in images)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in elements}
    assert not any("href" in attributes for _, attributes in elements)
    assert "url(" not in text and "@import" not in text
    assert "3 trials" in text and "6 victims" in text and "5.59 %" in text


def test_text_is_escaped(experiment):
    write_report(experiment, title="A <b>report</b>")
    text = (experiment / "report" / "report.html").read_text()
    assert "<b>" not in text
    assert "A &lt;b&gt;report&lt;/b&gt;" in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text
    assert "--attack=&lt;b&gt;&amp;\n--trials=3" in text


def test_dollars_are_no_formulas(tmp_path):
    history = {"confidence_by_epoch": [0.1]}
    write(tmp_path, trials([1], **history) + trials([0], defense="mixup(alpha=$_$)", **history))
    write_report(tmp_path, title="A report")


def test_two_reports_are_the_same(experiment):
    first = {path: path.read_bytes() for path in write_report(experiment, title="A report")}
    second = {path: path.read_bytes() for path in write_report(experiment, title="A report")}
    assert first == second
    assert not any(b"matplotlib" in content.lower() for content in first.values())


def test_shared_brewing_is_counted_once(experiment):
    write_report(experiment, title="A report")
    text = (experiment / "report" / "report.html").read_text()
    # Three trials' poisons for six victims.
    assert '<th scope="row">brewing</th><td>3</td><td>20.0</td><td>0.02</td>' in text
    assert '<th scope="row">training</th><td>6</td><td>10.0</td><td>0.02</td>' in text


def test_previews_are_embedded(experiment):
    (experiment / "previews").mkdir()
    for index in range(13):
        figure = draw_success_against_accuracy(summarise([record()]))
        figure.savefig(experiment / "previews" / f"{index:02d}<i>.png", dpi=10)
    write_report(experiment, title="A report")
    text = (experiment / "report" / "report.html").read_text()
    assert 'alt="11&lt;i&gt;"' in text
    assert 'alt="12' not in text and "1 more in the folder" in text


def test_figures_without_data_are_left_out_and_removed(experiment):
    write_report(experiment, title="A report")
    write(experiment, [{**record(), "confidence_by_epoch": []}])
    (experiment / "config.flags").unlink()
    written = [path.name for path in write_report(experiment, title="A report")]
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
    assert str(experiment / "report" / "report.html") in text
    assert (
        f"<h1>Experiment {experiment.name}</h1>"
        in (experiment / "report" / "report.html").read_text()
    )


def test_a_directory_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected .* Received: .*no directory"):
        ReportJob(tmp_path / "missing").check()
    with pytest.raises(ValueError, match=r"Expected .*records\.jsonl.* Received: .*has none"):
        ReportJob(tmp_path).check()
    (tmp_path / "records.jsonl").write_text('{"torn')
    with pytest.raises(ValueError, match=r"Expected at least one record .* Received none"):
        ReportJob(tmp_path).run()
