"""CSV files: no cell starts a formula, and all is read as it was written."""

import csv

import pytest

from tfpoison import csv_files

ODD = [
    *("=1+1", "+1", "-2+3", "@SUM(1)", "\tx", "\rx", "a\rb", "a\nb", "＝1", "'=1", "''=1", "'tis"),
    *("-", "-x", "-1", "-0.5e-07", "a,b", 'a"b', "a;b", "", " ", "café", "\u2028"),
]


def test_everything_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "a.csv"
    rows = [["cell", "number"], *([cell, str(n)] for n, cell in enumerate(ODD))]
    path.write_text(csv_files.text(rows), newline="")
    assert csv_files.read(path, "a table") == rows


def test_no_cell_starts_a_formula():
    rows = csv.reader(csv_files.text([ODD]).splitlines(keepends=True))
    starts = [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t\r＝"))]
    assert starts == ["-1", "-0.5e-07"]


def test_numbers_stay_numbers():
    assert csv_files.text([[1, -0.5, float("-inf"), None]]) == "1,-0.5,-inf,\n"


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbffile,id\r\n"a,b",1\r\n',
        b'file;id\n"a,b";1\n\n',
        b"file\tid\r\na,b\t1\r\n",
    ],
)
def test_what_spreadsheets_save_is_read(content, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    assert csv_files.read(tmp_path / "a.csv", "a table") == [["file", "id"], ["a,b", "1"]]


@pytest.mark.parametrize("content", [None, "id\n1\n".encode("utf-16"), b"x" * 200_000])
def test_other_files_are_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a table as a CSV file\..*a\.csv"):
        csv_files.read(tmp_path / "a.csv", "a table")
