"""The filters by name."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    from tfpoison.defenses.filters.base import Filter

FILTERS: "Registry[Filter]" = Registry(
    "filter",
    ".base:Filter",
    {
        "spectral_signatures": ".spectral_signatures:SpectralSignatures",
        "deep_knn": ".deep_knn:DeepKNN",
        "activation_clustering": ".activation_clustering:ActivationClustering",
    },
    __package__,
)

get, names, settings = FILTERS.get, FILTERS.names, FILTERS.settings
register = FILTERS.register
