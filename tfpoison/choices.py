"""What settings choose from and what is too heavy to be imported for a look at the names."""

from typing import TYPE_CHECKING

from tfpoison.registry import Registry

if TYPE_CHECKING:
    import tensorflow as tf

# How a batch is split into poisons and targets; see `attacks.Crafting`.
TARGET_SELECTIONS = ("share", "half", "one", "ten", "shuffled")
# Whether replicas craft together; see `distribution.Reduction`.
MATCHING = ("global", "replica")

STRATEGIES: "Registry[tf.distribute.Strategy]" = Registry(
    "strategy",
    "tensorflow:distribute.Strategy",
    {
        "default": "tensorflow:distribute.get_strategy",
        "one_device": "tfpoison.distribution:one_device",
        "mirrored": "tensorflow:distribute.MirroredStrategy",
        "multi_worker": "tensorflow:distribute.MultiWorkerMirroredStrategy",
    },
)
