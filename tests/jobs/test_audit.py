"""The audit: what it leaves, what it finds, and what it refuses."""

import contextlib
import csv
import dataclasses
import json
import re

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from examples_on_disk import put_on_disk

from tfpoison import KeepList, data, launch
from tfpoison.auditing import known_poisons
from tfpoison.auditing import page as audit_page
from tfpoison.auditing.audit import Audit, Split
from tfpoison.defenses import filters
from tfpoison.defenses.filters import Filter, Suspicion
from tfpoison.defenses.filters.table import IN_AUDITS
from tfpoison.runs.run_directory import RunDirectory

FLAGS = [
    *("--network=mlp", "--width=32", "--epochs=3", "--batch_size=32"),
    *("--optimizer=adam", "--learning_rate=0.01"),
]
BREW = [
    *("--job=brew", "--dataset=digits", "--recipes=badnets", "--trigger_size=1", "--budget=0.04"),
    *("--adversarial_class=3", "--trigger_place=top_left", "--clean_networks=0"),
    *("--threat_model=third_party", "--export=image_folder", "--verbosity=-1"),
    # A trigger that stands out from the dark corner: with seed 0 a dark pixel is drawn.
    "--seed=1",
]


def audit(directory, *more):
    return launch.main(["--job=audit", f"--output_dir={directory}", *FLAGS, *more])


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """Digits of which some carry a trigger and another class's label, as files."""
    directory = tmp_path_factory.mktemp("poisoned")
    assert launch.main([*BREW, f"--output_dir={directory}"]) == 0
    return directory


@pytest.fixture(scope="module")
def audited(poisoned, tmp_path_factory):
    """The audit of that folder."""
    directory = tmp_path_factory.mktemp("audited")
    folder = poisoned / "image_folder"
    flags = ["--dataset=image_folder", f"--data_dir={folder}"]
    flags.append(f"--known_poisons={folder / 'poisons.csv'}")
    assert audit(directory, *flags, "--verbosity=-1") == 0
    return directory, flags


def test_finds_more_poisons_than_chance(audited):
    report = json.loads((audited[0] / "report.json").read_text())
    assert report["images"] == 1280
    assert report["poisons"] == 51
    # A trigger of one pixel leaves the features of the poisons near those of their true classes.
    # Over six seeds these had 3, 14, and 3 times the precision of chance at least.
    found = report["detection"]
    for name, least in (("spectral_signatures", 2), ("deep_knn", 5)):
        assert found[name]["precision"] > least * found[name]["chance"], name
    assert found["at least 2 of them"]["precision"] > 0.2


def test_what_it_leaves(audited, capsys):
    directory, flags = audited
    names = ["audit.csv", "audit.html", "contact_sheet.png", "keep.csv", "report.json"]
    assert all((directory / name).stat().st_size for name in names)
    rows = list(csv.DictReader((directory / "audit.csv").read_text().splitlines()))
    assert len(rows) == 1280
    agreement = [int(row["agreement"]) for row in rows]
    assert agreement == sorted(agreement, reverse=True)
    for row in rows:
        said = [int(row[f"{name} suspects"]) for name in IN_AUDITS]
        assert sum(said) == int(row["agreement"])
        assert row["file"].startswith(f"{row['class']}/")
    assert sum(int(row["poison"]) for row in rows) == 51
    kept = KeepList.load(directory / "keep.csv")
    assert kept.size == sum(each < 2 for each in agreement)
    page = (directory / "audit.html").read_text()
    assert "data:image/jpeg;base64," in page and "badnets" not in page
    assert rows[0]["file"] in page

    # What is finished is not done again.
    before = (directory / "report.json").stat().st_mtime_ns
    assert audit(directory, *flags) == 0
    assert (directory / "report.json").stat().st_mtime_ns == before
    assert "51 poisons are among them" in capsys.readouterr().out
    report = (directory / "report.json").read_text()
    for content in (report[:99], "{}", report.replace('"images"', '"imagds"')):
        (directory / "report.json").write_text(content)
        assert audit(directory, *flags, "--verbosity=-1") == 2
        assert "Remove it: the filters inspect again." in capsys.readouterr().err
    (directory / "report.json").write_text(report)


def test_the_keep_list_goes_with_the_data_set(audited):
    directory, flags = audited
    images = data.load("image_folder", data_dir=flags[1].partition("=")[2])
    kept = KeepList.load(directory / "keep.csv")
    np.testing.assert_array_equal(images.train.labels[kept.ids], kept.labels)
    read = tfds.ImageFolder(flags[1].partition("=")[2]).as_dataset(
        split="train", as_supervised=True, shuffle_files=False
    )
    assert len(list(kept.apply(read))) == kept.size


def test_same_flags_same_bytes(poisoned, audited, tmp_path):
    directory, flags = audited
    assert audit(tmp_path, *flags, "--verbosity=-1") == 0
    for name in ("audit.csv", "keep.csv", "report.json", "contact_sheet.png"):
        assert (tmp_path / name).read_bytes() == (directory / name).read_bytes(), name


def test_poisons_are_put_into_clean_data(poisoned, audited, tmp_path):
    poisons = f"--poisons={poisoned / 'poisons.npz'}"
    assert audit(tmp_path, "--dataset=digits", poisons, "--verbosity=-1", "--agreement=1") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["poisons"] == 51
    # The folder of images holds the very same, in another order.
    other = json.loads((audited[0] / "report.json").read_text())
    assert report["suspects"]["spectral_signatures"] == other["suspects"]["spectral_signatures"]
    assert report["kept"] < other["kept"]


def test_clean_data_and_one_filter(tmp_path, capsys, monkeypatch):
    flags = ["--dataset=digits", "--train_size=200", "--validation_size=20"]
    flags += ["--filters=spectral_signatures(share=0.1)", "--agreement=1"]
    assert audit(tmp_path, *flags) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["suspects"].keys() == {"spectral_signatures(share=0.1)"}
    assert "detection" not in report and report["kappa"] == {}
    assert "precision" not in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "audit.csv").read_text().splitlines()))
    assert "file" not in rows[0] and "poison" not in rows[0]

    # Another filter looks at the same network; those that have looked do not look again.
    (tmp_path / "known.csv").write_text("id\n0\n")
    inspected, trained = [], (tmp_path / "checkpoint.npz").stat().st_mtime_ns
    inspect = Filter.inspect
    monkeypatch.setattr(
        Filter, "inspect", lambda *each: inspected.append(each[0]) or inspect(*each)
    )
    flags = [*flags[:2], "--validation_size=20"]
    flags.append("--filters=deep_knn(neighbors=3),spectral_signatures(share=0.1)")
    for more in ("--agreement=1", f"--known_poisons={tmp_path / 'known.csv'}"):
        assert audit(tmp_path, *flags, more, "--verbosity=-1") == 0
        assert inspected == [filters.get("deep_knn", neighbors=3)]
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["suspects"]) == 2 and report["detection"]
    assert (tmp_path / "checkpoint.npz").stat().st_mtime_ns == trained
    assert "--filters=deep_knn(neighbors=3),spec" in (tmp_path / "config.flags").read_text()
    assert audit(tmp_path, *flags, "--epochs=4") == 2

    # A run that is killed before its end does not leave the report of the one before.
    with monkeypatch.context() as context:
        context.setattr(RunDirectory, "write_json", lambda *each: 1 / 0)
        with contextlib.suppress(ZeroDivisionError):
            audit(tmp_path, *flags, "--agreement=1", "--verbosity=1")
    assert not (tmp_path / "report.json").exists()

    # A damaged file of scores is named.
    (tmp_path / "suspicions.npz").write_bytes(b"damaged")
    assert audit(tmp_path, *flags, "--agreement=1") == 2
    assert "suspicions.npz" in capsys.readouterr().err


def test_known_poisons_by_id(tmp_path):
    (tmp_path / "known.csv").write_text("id,why\n0,seen\n7,guessed\n")
    flags = ["--dataset=digits", f"--known_poisons={tmp_path / 'known.csv'}", "--verbosity=-1"]
    assert audit(tmp_path / "output", *flags) == 0
    rows = csv.DictReader((tmp_path / "output/audit.csv").read_text().splitlines())
    assert {row["id"] for row in rows if row["poison"] == "1"} == {"0", "7"}


ONE_FILTER = ["--filters=spectral_signatures(share=0.2)", "--agreement=1", "--epochs=1"]


def write_digits(folder, count):
    """Writes the first training images of the digits as DIR/CLASS/NUMBER.png."""
    train = data.load("digits").train
    for number, label in enumerate(train.labels[:count]):
        path = folder / str(label) / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(train.images[number][..., 0]).save(path)


def read_audit(directory):
    """Returns the report, the rows of the table, and the keep-list."""
    report = json.loads((directory / "report.json").read_text())
    rows = list(csv.DictReader((directory / "audit.csv").read_text().splitlines()))
    return report, rows, KeepList.load(directory / "keep.csv")


def test_nothing_of_a_folder_is_held_out(tmp_path, monkeypatch):
    write_digits(tmp_path / "images", 100)
    flags = ["--dataset=image_folder", f"--data_dir={tmp_path / 'images'}", *ONE_FILTER]
    load = data.Selection.load

    def load_from_disk(selection):
        images = load(selection)
        return dataclasses.replace(images, train=put_on_disk(images.train))

    monkeypatch.setattr(data.Selection, "load", load_from_disk)
    assert audit(tmp_path / "output", *flags, "--verbosity=-1") == 0
    report, rows, kept = read_audit(tmp_path / "output")
    assert (report["images"], report["unaudited"]) == (100, 0)
    assert len(rows) == 100
    suspects = {int(row["id"]) for row in rows if row["agreement"] == "1"}
    assert set(range(100)) - set(kept.ids.tolist()) == suspects


def test_images_that_were_not_looked_at_are_kept(tmp_path, capsys):
    """60 of 100 images are looked at; of 100 known poisons 40 are not."""
    write_digits(tmp_path / "images", 100)
    files = sorted((tmp_path / "images").glob("*/*.png"))
    known = tmp_path / "known.csv"
    known.write_text("\n".join(["file", *(f"{each.parent.name}/{each.name}" for each in files)]))
    flags = ["--dataset=image_folder", f"--data_dir={tmp_path / 'images'}", *ONE_FILTER]
    flags += ["--train_size=60", f"--known_poisons={known}"]
    assert audit(tmp_path / "output", *flags) == 0
    report, rows, kept = read_audit(tmp_path / "output")
    audited = {int(row["id"]) for row in rows}
    suspects = {int(row["id"]) for row in rows if row["agreement"] == "1"}
    assert (len(audited), report["images"], report["unaudited"]) == (60, 60, 40)
    assert 0 < len(suspects) == 60 - report["kept"]
    assert set(kept.ids.tolist()) == set(range(100)) - suspects
    assert (report["poisons"], report["unaudited_poisons"]) == (60, 40)
    said = "looked at 40 other images of the training split; they are all on the keep-list, with 40"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "output/audit.html").read_text()
    # The list goes with the whole data set.
    labels = data.Selection("image_folder", data_dir=tmp_path / "images").source.train.labels()
    np.testing.assert_array_equal(labels[kept.ids], kept.labels)


def test_the_rest_of_a_split_with_poisons_is_kept(tmp_path):
    """Poisons that were made for 200 of 1,280 images: the others are kept under their labels."""
    subset = ["--dataset=digits", "--train_size=200", "--validation_size=100"]
    brew = [each for each in BREW if each != "--dataset=digits"] + subset
    assert launch.main([*brew, f"--output_dir={tmp_path / 'brewed'}"]) == 0
    poisons = f"--poisons={tmp_path / 'brewed/poisons.npz'}"
    assert audit(tmp_path / "output", *subset, poisons, *ONE_FILTER, "--verbosity=-1") == 0
    report, rows, kept = read_audit(tmp_path / "output")
    assert (report["unaudited"], report["poisons"], report["unaudited_poisons"]) == (1080, 8, 0)
    assert kept.size == 1080 + report["kept"]
    labels = data.Selection("digits").source.train.labels()
    changed = kept.ids[labels[kept.ids] != kept.labels]
    poisoned = {int(row["id"]) for row in rows if (row["poison"], row["agreement"]) == ("1", "0")}
    assert set(changed.tolist()) == poisoned


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--filters="], "Expected filters"),
        (["--filters=mixup"], "Expected --filters to be filters"),
        (["--filters=deep_knn+mixup"], "Expected --filters to be filters"),
        (["--filters=deep_knn+spectral_signatures"], "Expected --filters to be filters"),
        (["--filters=deep_knn(k=3)"], "Unknown setting"),
        (["--filters=deep_knn(neighbors=0)"], "`neighbors`"),
        (["--filters=deep_knn(neighbors=1797)", "--agreement=1"], "1797 with 1280 examples"),
        (
            ["--filters=spectral_signatures,spectral_signatures(share=0.15)", "--agreement=2"],
            "filters that differ",
        ),
        (["--agreement=5"], "--agreement to be an integer"),
        (["--filters=deep_knn"], "--agreement"),
        (["--agreement=0"], "--agreement"),
        (["--known_poisons=nowhere.csv"], "nowhere.csv"),
        (["--poisons=nowhere.npz"], "nowhere.npz"),
        (["--defense=mixup"], "flags of --job=audit alone"),
    ],
)
def test_refused_at_the_door(flags, message, tmp_path, capsys):
    assert audit(tmp_path, "--dataset=digits", *flags) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_class_of_which_nothing_is_left_is_told():
    report = {"emptied_classes": ["<ant>", "bee"], "unaudited": 0}
    (remark,) = audit_page._remarks(report)
    assert remark.startswith("Nothing of 2 class(es) is left on the keep-list, such as <ant>: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column `id` or `file`"),
        ("name\nx\n", "column `id` or `file`"),
        ("id\n", "no lines"),
        ("id\n3\n99999\n", "1 of its 2 are not, such as '99999'"),
        ("id\n1.5\n", "position of an image in the column `id` of every line.*'1.5'"),
        ("id\n-1\n", "'-1'"),
        ("why,id\nseen,1\nguessed\n", "of every line.*with ''"),
        (f"id\n{'9' * 200_000}\n", "field larger than field limit"),
        ("file\n3/000001.png\n", "by `id`"),
    ],
)
def test_lists_of_other_poisons_are_refused(text, message, tmp_path, capsys):
    (tmp_path / "known.csv").write_text(text)
    known = f"--known_poisons={tmp_path / 'known.csv'}"
    assert audit(tmp_path / "output", "--dataset=digits", known) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.glob("output/*.csv"))


def test_ids_with_leading_zeros_are_numbers(tmp_path):
    (tmp_path / "known.csv").write_text("id\n0007\n00\n7\n")
    known = known_poisons.find(str(tmp_path / "known.csv"), 10, None)
    assert np.flatnonzero(known).tolist() == [0, 7]


def test_lists_name_files_from_any_root(tmp_path):
    """Also lists that a spreadsheet has written, which start with a byte-order mark."""
    text = "file\n/data/train/cat/1.png\ndog/deeper/2.png\n"
    (tmp_path / "known.csv").write_text(text, encoding="utf-8-sig")
    files = ["dog/deeper/2.png", "dog/1.png", "cat/1.png"]
    known = known_poisons.find(str(tmp_path / "known.csv"), 3, files)
    assert known.tolist() == [True, False, True]


def make_audit(is_poison=None):
    one = Suspicion(np.array([0.9, 0.1, 0.8, 0.2]), np.array([True, False, True, False]))
    other = Suspicion(np.array([5.0, 1.0, 9.0, 7.0]), np.array([False, False, True, True]))
    labels = np.array([0, 1, 1, 0])
    examples = data.InMemoryExamples(np.zeros((4, 2, 2, 1), np.uint8), labels)
    split = Split("images", ["a", "b"], labels, is_poison=is_poison)
    return Audit({"one": one, "other": other}, examples, split, least_agreement=1)


def test_agreement_by_hand():
    audit = make_audit()
    assert audit.agreement.tolist() == [1, 0, 2, 1]
    # Shares below: (3, 0, 2, 1) / 4 and (1, 0, 3, 2) / 4; of the two with agreement 1 the ranks
    # are 1/2 and 3/8.
    assert audit.rank.tolist() == [0.5, 0, 0.625, 0.375]
    assert audit.order.tolist() == [2, 0, 3, 1]
    assert audit.keep_list.ids.tolist() == [1]
    assert [each.tolist() for each in audit.most_suspicious(2)] == [[0, 3], [2, 1]]
    # Both suspect half: observed agreement 1/2, expected 1/2.
    assert audit.kappa() == {("one", "other"): 0}
    assert audit.detection() == {}


def test_detection_by_hand():
    measures = make_audit(np.array([False, False, True, True])).detection()
    half = dict.fromkeys(("precision", "recall", "false_positive_rate", "chance", "roc_auc"), 0.5)
    assert measures["one"] == half
    assert measures["other"] == half | {
        **{"precision": 1, "recall": 1, "false_positive_rate": 0, "roc_auc": 1}
    }
    assert measures["all of them"]["precision"] == 1
    assert measures["all of them"]["recall"] == 0.5
