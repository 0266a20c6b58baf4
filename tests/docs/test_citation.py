"""CITATION.cff can be read by those who read such files, and names this version."""

import pages
import yaml

import tfpoison

CITATION = yaml.safe_load((pages.DOCS.parent / "CITATION.cff").read_text())


def test_what_the_format_asks_for_is_there():
    """The fields that the schema of CFF 1.2.0 requires, of the software and of the paper."""
    assert CITATION["cff-version"] == "1.2.0"
    assert all(CITATION[name] for name in ("message", "title", "authors"))
    paper = CITATION["preferred-citation"]
    assert all(paper[name] for name in ("type", "title", "authors"))
    assert all({"family-names", "given-names"} <= author.keys() for author in paper["authors"])


def test_it_is_of_this_version():
    assert str(CITATION["version"]) == tfpoison.__version__
