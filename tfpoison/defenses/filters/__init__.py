"""Defenses that remove suspects before training."""

from tfpoison.defenses.filters.activation_clustering import ActivationClustering
from tfpoison.defenses.filters.base import Filter, Suspicion
from tfpoison.defenses.filters.deep_knn import DeepKNN
from tfpoison.defenses.filters.spectral_signatures import SpectralSignatures
from tfpoison.defenses.filters.table import FILTERS, get, names

__all__ = [
    "FILTERS",
    "ActivationClustering",
    "DeepKNN",
    "Filter",
    "SpectralSignatures",
    "Suspicion",
    "get",
    "names",
]
