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
        "isolation": ".isolation:Isolation",
        "margin_drop": ".margin_drop:MarginDrop",
        "linear_discriminants": ".linear_discriminants:LinearDiscriminants",
    },
    __package__,
)

# What audits ask unless told others: those that take the images, or one network trained once.
IN_AUDITS = ("linear_discriminants", "spectral_signatures", "deep_knn", "activation_clustering")

get, names, settings = FILTERS.get, FILTERS.names, FILTERS.settings
register = FILTERS.register
