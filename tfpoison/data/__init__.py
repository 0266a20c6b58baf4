"""Labelled images: data sets by name, streams of batches, augmentation, statistics."""

from tfpoison.data import augmentation
from tfpoison.data.augmentation import Augmentation, ShiftAndFlip
from tfpoison.data.examples import Examples, InMemoryExamples, StreamedExamples
from tfpoison.data.image_classification import Description, ImageClassification
from tfpoison.data.keep_list import KeepList
from tfpoison.data.loading import check, file_names, load, training_labels
from tfpoison.data.pipeline import batches_per_epoch, evaluation_batches, training_batches
from tfpoison.data.source import ArraySplit, Source, Split
from tfpoison.data.sources import names
from tfpoison.data.statistics import channel_statistics

__all__ = [
    "ArraySplit",
    "Augmentation",
    "Description",
    "Examples",
    "ImageClassification",
    "InMemoryExamples",
    "KeepList",
    "ShiftAndFlip",
    "Source",
    "Split",
    "StreamedExamples",
    "augmentation",
    "batches_per_epoch",
    "channel_statistics",
    "check",
    "evaluation_batches",
    "file_names",
    "load",
    "names",
    "training_batches",
    "training_labels",
]
