import pages
import pytest

from tfpoison.registry import Registry


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """Where pages are carried out: what they save and register is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for room in pages.ROOMS:
        for part in pages.public(room).values():
            if isinstance(part, Registry):
                monkeypatch.setattr(part, "_makers", dict(part._makers))
