"""Train Keras classifiers that data poisoning and backdoors cannot steer."""

import os
import platform

from tfpoison import keras_settings, process

keras_settings.check_backend()

if process.is_starting():
    process.prepare()

if platform.machine().lower() in ("x86_64", "amd64"):
    # Must be set before TensorFlow is imported. On CPUs without AVX-512 TensorFlow leaves oneDNN
    # off, which makes crafting two to four times slower.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from tfpoison import attacks, defenses, distribution
from tfpoison.attacks import Attack
from tfpoison.data import KeepList
from tfpoison.defenses import GradientShaping, TrainingSetRevision
from tfpoison.training import RobustModel

__version__ = "0.1.0"

__all__ = [
    "Attack",
    "GradientShaping",
    "KeepList",
    "RobustModel",
    "TrainingSetRevision",
    "attacks",
    "defenses",
    "distribution",
]
