"""Whether a forward pass is a pure function: of images and weights, without a trace in the network.

Crafting asks a network many times in a training step, often with other values in the place of its
weights. Keras's variables allow for it (`keras.StatelessScope`); what TensorFlow has compiled
beforehand, or keeps in variables of its own, does not, and nothing would say so.
"""

import contextlib
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

Forward = Callable[[tf.Tensor], Any]

_WRITE = re.compile(
    r"Assign\w*VariableOp|Resource(Scatter|StridedSlice|Apply|SparseApply)\w+|Rng\w+"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal)\w*|LookupTable(Insert|Import|Remove)\w*"
)


class Findings(NamedTuple):
    """What keeps a forward pass from being a pure function: nothing where both are empty."""

    fixed_weights: Sequence[str]
    """The paths of trainable weights that are read past Keras."""
    writes: Sequence[str]
    """The names of operations that change variables which are not Keras's."""


_findings: weakref.WeakKeyDictionary[keras.Model, tuple[Any, Findings]] = (
    weakref.WeakKeyDictionary()
)


def check(
    network: keras.Model,
    forward: Forward,
    images: tf.Tensor | tf.TensorSpec,
    *,
    replaces_weights: bool = False,
) -> None:
    """Raises ValueError where `forward`, a forward pass of the network, is no pure function.

    Args:
        images: a batch of images; their values are not used.
        replaces_weights: whether other values are to stand in for the trainable weights.
    """
    found = _look(network, forward, images)
    if replaces_weights and found.fixed_weights:
        raise ValueError(
            "Expected a network whose weights are read through Keras: crafting differentiates by "
            f"them and puts other values in their place. Received: the network {network.name!r}, "
            f"which reads {_some(found.fixed_weights)} in a tf.function or a SavedModel. Take "
            "@tf.function away (Keras compiles the training step as a whole), or freeze the layer: "
            "layer.trainable = False."
        )
    if found.writes:
        raise ValueError(
            "Expected a network whose state lies in Keras's variables: crafting asks it many times "
            "in a training step, and leaves them as they were. Received: the network "
            f"{network.name!r}, which changes variables of TensorFlow in inference "
            f"({_some(found.writes)}). Keep state in add_weight(..., trainable=False) or "
            "keras.random.SeedGenerator, and take @tf.function away from what changes it."
        )


def compile_functions(network: keras.Model, forward: Forward, images: tf.TensorSpec) -> None:
    """Has functions within the network compiled, if they are not yet, with its own variables.

    First compiled within a scope of Keras, they would hold on to what stands in for the variables
    there, and change no state ever after.
    """
    # A replica cannot change variables here; such functions fail in its training as well.
    replicated = tf.distribute.has_strategy()
    with keras.StatelessScope() if replicated else contextlib.nullcontext():
        tf.function(forward, autograph=False).get_concrete_function(images)
    network._clear_losses()  # Those of `add_loss` belong to the trace.


def _look(network: keras.Model, forward: Forward, images: tf.Tensor | tf.TensorSpec) -> Findings:
    """Returns what was found in the network; it is traced once for the weights it trains."""
    trained = [id(each) for each in network.trainable_variables]
    if _findings.get(network, (None,))[0] != trained:
        batch = tf.TensorSpec([None, *images.shape[1:]], images.dtype)
        compile_functions(network, forward, batch)
        _findings[network] = trained, _trace(network.trainable_variables, forward, batch)
    return _findings[network][1]


def _trace(variables: list[keras.Variable], forward: Forward, batch: tf.TensorSpec) -> Findings:
    @tf.function(autograph=False)
    def ask(images: tf.Tensor, values: list[tf.Tensor]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return forward(images)

    values = [tf.TensorSpec(each.shape, each.dtype) for each in variables]
    traced = ask.get_concrete_function(batch, values)
    read = {id(each) for each in traced.captured_inputs}
    definition = traced.graph.as_graph_def()
    nodes = [node for function in definition.library.function for node in function.node_def]
    return Findings(
        [each.path for each in variables if id(each.value.handle) in read],
        [node.name for node in [*definition.node, *nodes] if _WRITE.fullmatch(node.op)],
    )


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
