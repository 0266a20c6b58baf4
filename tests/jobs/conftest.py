import pytest

from tfpoison import data

_load = data.load
_digits = {}


def _load_digits_once(name, **settings):
    """Reading them takes a second, of which the tests of data take care: jobs may share them."""
    if name != "digits":
        return _load(name, **settings)
    key = tuple(sorted((each, str(value)) for each, value in settings.items()))
    if key not in _digits:
        images = _load(name, **settings)
        for examples in (images.train, images.validation):
            for array in (examples.images, examples.labels, examples.ids):
                array.setflags(write=False)
        _digits[key] = images
    return _digits[key]


@pytest.fixture(autouse=True)
def _digits_are_read_once(monkeypatch):
    monkeypatch.setattr(data, "load", _load_digits_once)
