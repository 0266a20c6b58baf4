"""Pages: they stand alone, are read on a phone and aloud, and stay small."""

import html
import html.parser
import os
import shutil
import subprocess

import numpy as np
import pytest
from victims_of_trials import trials

from tfpoison.auditing.audit import Audit, Split
from tfpoison.data import InMemoryExamples
from tfpoison.defenses.filters import Suspicion
from tfpoison.report import page, pictures, training
from tfpoison.report.experiment import ExperimentReport
from tfpoison.report.page import Picture
from tfpoison.runs.run_directory import RunDirectory

VOID = {"meta", "img", "wbr"}
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def write_experiment(folder):
    """Of twenty columns with long names, against two adversaries."""
    names = ["none", *(f"defense_{n}(epsilon=0.0627;step_size={n / 255:.4f})" for n in range(19))]
    records = []
    for number, name in enumerate(names):
        history = {"confidence_by_epoch": [0.1, 0.2][: 2 * (number < 4)]}
        history["target_confidence"] = number / 20
        records += trials([number % 2, 0], defense=name, **history)
        records += trials([1, 0], defense=name, adversary="adaptive", **history) if number else []
    sheet = pictures.draw_rows([("clean", np.zeros((4, 8, 8, 1)), ["0"] * 4)])
    (folder / "previews").mkdir(parents=True)
    (folder / "previews" / "a.png").write_bytes(pictures.png(sheet, "ε = 16/255"))
    (folder / "config.flags").write_text(f"--defenses={','.join(names)}\n")
    return ExperimentReport(records, "Experiment <of many columns>", folder).page()


def write_training(folder):
    folder.mkdir(parents=True)
    report = {"network": "mlp", "weights": 52362, "defense": "gradient_matching", "epochs": 2}
    report |= {"clean_accuracy": 0.5, "validation_loss": float("nan"), "validation_examples": 9}
    report |= {"poisons": 3, "targets": 1, "target_class": "a cat", "adversarial_class": "a dog"}
    report |= {"poison_success": 1.0, "target_confidence": 0.75}
    lines = ["epoch,accuracy,val_accuracy,loss,objective_before,objective_after", "1,.5,.5,2,1,.5"]
    (folder / "metrics.csv").write_text("\n".join([*lines, "2,.6,,1.5,1,.25"]))
    sheet = pictures.draw_rows([("clean", np.zeros((4, 8, 8, 1)), ["poison"] * 4)])
    (folder / "preview.png").write_bytes(pictures.png(sheet, "drawn 8 times as large"))
    path = training.write_page(RunDirectory(folder, {}), report)
    text = path.read_text().replace("<wbr>", "")
    assert (
        "defended by gradient_matching, mlp is right on 50.0% of 9 clean images; with 3 poisons"
        in text
    )
    assert "calls 100% of 1 target(s) of class a cat a dog." in text
    return text


def write_audit(folder):
    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(5, size=40))
    examples = InMemoryExamples(draw.integers(256, size=(40, 32, 32, 3), dtype=np.uint8), labels)
    files = [f"a_class_with_a_long_name/image_{number:06}_of_a_camera.png" for number in range(40)]
    known = draw.random(40) < 0.2
    split = Split("images", [f"class_{n}" for n in range(5)], labels, files, known)
    suspicions = {
        f"filter_{n}(share=0.3)": Suspicion(draw.random(40), draw.random(40) < 0.4)
        for n in range(3)
    }
    return Audit(suspicions, examples, split, least_agreement=2).page(folder)


WRITERS = {"experiment": write_experiment, "training": write_training, "audit": write_audit}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {name: write(folder / name) for name, write in WRITERS.items()}


class Elements(html.parser.HTMLParser):
    """The elements of a page; fails where one is not closed."""

    def __init__(self, text):
        super().__init__()
        self.all, self._open = [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def of(self, *tags):
        return [attributes for tag, attributes in self.all if tag in tags]


@pytest.mark.parametrize("name", WRITERS)
def test_a_page_stands_alone(name, pages):
    elements = Elements(pages[name])
    assert all(image["src"].startswith("data:image/") for image in elements.of("img"))
    assert not elements.of("script", "link", "iframe", "object")
    assert not any({"href", "srcset"} & attributes.keys() for _, attributes in elements.all)
    assert "http" not in pages[name] and "url(" not in pages[name] and "@import" not in pages[name]
    assert len(pages[name].encode()) < page.MOST_BYTES


@pytest.mark.parametrize("name", WRITERS)
def test_a_page_can_be_read_aloud(name, pages):
    elements = Elements(pages[name])
    assert elements.of("html") == [{"lang": "en"}]
    assert [len(elements.of(tag)) for tag in ("header", "main", "footer", "h1")] == [1] * 4
    texts = [image["alt"] for image in elements.of("img")]
    assert texts and all(texts)
    # Of pictures side by side each says which it is.
    assert name != "experiment" or len(set(texts)) == len(texts) == 2 + 3 + 19 + 1
    assert all(cell["scope"] in ("col", "row") for cell in elements.of("th"))
    # A narrow screen shows lines as blocks: they stay a table, and cells name their columns.
    for tag, role in (("table", "table"), ("tr", "row"), ("td", "cell")):
        assert all(each["role"] == role for each in elements.of(tag)) and elements.of(tag)
    assert all(cell["data-column"] for cell in elements.of("td"))


def test_the_answer_comes_first_and_the_narrow_table_next(pages):
    text = pages["experiment"]
    assert "Experiment &lt;of many columns&gt;" in text
    answer, table = text.index("Undefended, the adversary reached"), text.index("<table")
    assert text.index("<h1>") < answer < text.index("<h2>") < table < text.index("<img")
    assert 'class="narrow"' in text[table : table + 50]
    assert "epsilon=16/<wbr>255" in text and "<figcaption>ε = 16/255</figcaption>" in text


def test_pictures_that_make_a_page_too_large_are_counted(tmp_path):
    picture = Picture(b"\x89PNG" + os.urandom(400_000), "large")
    parts = {"title": "a", "answers": ["b"], "figures": [["c", "d"]], "curves": []}
    text = page.render("training.html", tmp_path, **parts, previews=[picture] * 5)
    assert len(text) < page.MOST_BYTES
    assert text.count("<img") == 2 and "3 more are in the files beside this page." in text


# Puts into the title what of a page in a frame is wider than the frame. Windows have a least width.
_FRAME = """<iframe width="{width}" height="900" srcdoc="{page}" style="border: 0" onload="
  const inside = this.contentDocument, width = inside.documentElement.clientWidth
  for (const each of inside.querySelectorAll('details')) each.open = true
  const right = each => Math.round(each.getBoundingClientRect().right)
  const wide = [...inside.querySelectorAll('body *')].filter(each => right(each) > width)
  document.title += `${{width}}: ` + wide.map(each => each.tagName + right(each)) + ';'
"></iframe>"""


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium to lay the page out")
def test_no_element_is_wider_than_the_page(pages, tmp_path):
    frames = [
        _FRAME.format(width=width, page=html.escape(page))
        for page in pages.values()
        for width in (420, 1400)
    ]
    path = tmp_path / "frames.html"
    path.write_text(f"<!DOCTYPE html><title></title>{''.join(frames)}")
    told = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--dump-dom", f"--user-data-dir={tmp_path / 'browser'}", path.as_uri()),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    title = told.stdout.partition("<title>")[2].partition("</title>")[0]
    assert sorted(title.split(";")) == ["", *["1400: "] * 3, *["420: "] * 3]
