"""Data sets by name; those of TensorFlow Datasets go by their own names beside these."""

import inspect
from typing import Any

from tfpoison.data.digits import digits
from tfpoison.data.image_folder import image_folder
from tfpoison.data.source import Source

SOURCES = {"digits": digits, "image_folder": image_folder}


def names() -> list[str]:
    """Returns the data sets that need no preparation; any TFDS name is welcome besides."""
    return list(SOURCES)


def open_source(name: str, data_dir: str | None = None, download: bool = False) -> Source:
    """Opens a data set by name; none of its images is read yet.

    Raises:
        ValueError: there is no such data set, or it is not there, or holds no labelled images.
    """
    if name not in SOURCES:
        # Their library takes seconds to import.
        from tfpoison.data.tfds_source import tfds_source

        return tfds_source(name, data_dir, download)
    given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    given |= {"download": True} if download else {}
    known = inspect.signature(SOURCES[name]).parameters
    for setting in given.keys() - known:
        raise ValueError(
            f"Expected no `{setting}` for {name!r}, which lies in "
            f"{'its `data_dir`' if known else 'the installation'}. Received: "
            f"{setting}={given[setting]!r}"
        )
    return SOURCES[name](**given)
