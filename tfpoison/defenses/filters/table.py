"""The table of filters: name → class."""

from typing import Any

from tfpoison.checks import check_name
from tfpoison.defenses.filters.activation_clustering import ActivationClustering
from tfpoison.defenses.filters.base import Filter
from tfpoison.defenses.filters.deep_knn import DeepKNN
from tfpoison.defenses.filters.spectral_signatures import SpectralSignatures

FILTERS: dict[str, type[Filter]] = {
    "spectral_signatures": SpectralSignatures,
    "deep_knn": DeepKNN,
    "activation_clustering": ActivationClustering,
}


def names() -> list[str]:
    """Returns the names of the filters."""
    return list(FILTERS)


def get(name: str, **settings: Any) -> Filter:
    """Returns the filter of that name with the settings given.

    Raises:
        ValueError: the name is unknown, or a setting has a value that cannot be.
        TypeError: the filter has no such setting, or a setting has the wrong type.
    """
    check_name("filter", name, names())
    return FILTERS[name](**settings)
