"""What `RobustModel` is made from: checked, and looked up, before anything is built."""

from collections.abc import Iterator
from typing import Any

import keras

from tfpoison.attacks.batch_attack import BatchAttack
from tfpoison.defenses.transforms.base import Transform
from tfpoison.features import FeatureExtractor
from tfpoison.keras_settings import check_channels_last

# What a network has of its own of these would be passed over.
_LEFT_TO_KERAS = (
    *("fit", "evaluate", "predict", "compile"),
    *("train_on_batch", "test_on_batch", "predict_on_batch"),
    *("make_train_function", "make_test_function", "make_predict_function"),
    *("train_step", "test_step", "predict_step", "compute_loss", "compute_metrics"),
)

_MAX_POOLINGS = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
)


def check_network(network: Any, wrapper: type[keras.Model]) -> None:
    """Raises TypeError or ValueError where a network cannot be trained in the wrapper's way."""
    if not isinstance(network, keras.Model):
        raise TypeError(f"Expected `network` to be a keras.Model. Received: network={network!r}")
    if any(isinstance(each, wrapper) for each in network._flatten_layers()):
        raise ValueError(
            "Expected `network` to be a plain classifier. Received a RobustModel, or one among its "
            "layers: put the network within it, `model.network`, in its place."
        )
    check_channels_last(network._flatten_layers())
    for layer in _layers_with(network, "stateful"):
        raise ValueError(
            "Expected a network that takes each image by itself, in batches of any size: "
            "poisons and targets are parts of a batch. Received: the layer "
            f"{layer.name!r} with stateful=True. Make it without."
        )
    for method in _LEFT_TO_KERAS:
        own = getattr(network, method)
        if getattr(own, "__func__", own) is not getattr(keras.Model, method):
            raise ValueError(
                f"Expected `network` to leave `{method}` to Keras: RobustModel trains and serves "
                f"in Keras's way, and the one of {type(network).__name__} would be passed over "
                "silently. Wrap the network within it, and move what the method adds into layers, "
                "the loss or metrics. Where it prepares the data (KerasHub's `preprocessor`), map "
                "the data set with that, and wrap keras.Model(network.inputs, network.outputs)."
            )
    if hasattr(network, "outputs"):
        outputs = len(keras.tree.flatten(network.outputs or [None]))
        if outputs != 1:
            raise ValueError(
                "Expected `network` to be a classifier with one output: poisons are crafted "
                f"against one loss. Received {outputs} outputs. Wrap a keras.Model that gives "
                "the classes alone."
            )


def _layers_with(network: keras.Model, option: str) -> Iterator[keras.Layer]:
    return (each for each in network._flatten_layers() if getattr(each, option, False))


def check_no_synchronisation(network: keras.Model) -> None:
    """Raises ValueError where BatchNormalization takes statistics over all replicas."""
    for layer in _layers_with(network, "synchronized"):
        raise ValueError(
            "Expected BatchNormalization of each replica's own images with batch_statistics=True "
            "under a strategy: replicas cannot wait for each other within crafting. Received: the "
            f"layer {layer.name!r} with synchronized=True. Make it without, or craft with its "
            "moving statistics."
        )


def check_strategy(model: keras.Model, network: keras.Model) -> None:
    """Raises ValueError where model and network are made under different strategies."""
    strategies = [each._distribute_strategy for each in (model, network)]
    if strategies[0] is not strategies[1]:
        raise ValueError(
            "Expected the network and RobustModel to be made within the scope of the same "
            f"strategy. Received a network made under {strategies[1]!r} and a RobustModel under "
            f"{strategies[0]!r}. Make both inside `with strategy.scope():`."
        )


def compiles_by_xla(
    network: keras.Model, attack: BatchAttack | None, transform: Transform | None
) -> bool:
    """Returns whether XLA, which Keras takes on GPUs, has code for all of the training step.

    It has none for the second derivative of maximum pooling in half precision.
    """
    if transform is not None and not transform.compiles:
        return False
    objectives = [] if attack is None else attack.objectives
    if not any(each.differentiates_twice for each in objectives):
        return True
    poolings = [each for each in network._flatten_layers() if isinstance(each, _MAX_POOLINGS)]
    return all(each.compute_dtype == "float32" for each in poolings)


def check_features(network: keras.Model, attack: BatchAttack | None, features: Any) -> None:
    """Raises ValueError where layers are not found that the attack needs, or given to none."""
    objectives = [] if attack is None else attack.objectives
    for each in objectives:
        each.check_network(network)
    if any(each.needs_features for each in objectives):
        FeatureExtractor(network, features)
    elif features is not None:
        raise ValueError(
            "`features` goes with attacks on features alone (feature_collision, convex_polytope, "
            f"hidden_trigger). Received: features={features!r}, attack={attack!r}"
        )
