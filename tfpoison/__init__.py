"""Train Keras classifiers that data poisoning and backdoors cannot steer."""

import os
import platform

import lazy_loader

from tfpoison import keras_settings, saved_models

__version__ = "0.1.0"

keras_settings.check_backend()
saved_models.register()

if platform.machine().lower() in ("x86_64", "amd64"):
    # Must be set before TensorFlow is imported. On CPUs without AVX-512 TensorFlow leaves oneDNN
    # off, which makes crafting two to four times slower.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# What the stub beside this file names is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
