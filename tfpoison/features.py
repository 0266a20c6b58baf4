"""The penultimate features of a network: found in its graph, or named by the user."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf


class FeatureExtractor:
    """Computes a network's features by listening to one of its layers during a forward pass.

    Listening works alike for Functional, Sequential and subclassed networks, and for layers inside
    nested networks.

    Args:
        layer: the layer whose *output* is the features, or its name. None: the features are the
            *input* of the last Dense layer, which must be found in the network's graph.

    Raises:
        ValueError: no such layer, several of that name, or no last Dense layer to be found.
    """

    def __init__(self, network: keras.Model, layer: keras.Layer | str | None = None):
        if layer is None:
            self.layer, self._listens_to_input = last_dense(network), True
        else:
            self.layer, self._listens_to_input = find_layer(network, layer), False

    def __call__(self, forward_pass: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Returns the features that the layer sees or computes in a forward pass, (n, features)."""
        heard: list[tf.Tensor] = []
        call = self.layer.call

        def listening_call(inputs, *args, **kwargs):
            outputs = call(inputs, *args, **kwargs)
            heard.append(inputs if self._listens_to_input else outputs)
            return outputs

        with replaced_call(self.layer, listening_call):
            forward_pass()
        if len(heard) != 1:
            raise ValueError(
                f"Expected the layer {self.layer.name!r} to run once in a forward pass of the "
                f"network. It ran {len(heard)} times. Name another layer with `features`."
            )
        features = heard[0]
        return tf.reshape(features, [tf.shape(features)[0], -1])


@contextlib.contextmanager
def replaced_call(layer: keras.Layer, call: Callable[..., tf.Tensor]) -> Iterator[None]:
    """Gives a layer another `call` for the time being."""
    # An attribute of the instance hides the method of its class; Keras need not track it.
    before = {name: value for name, value in vars(layer).items() if name == "call"}
    vars(layer)["call"] = call
    try:
        yield
    finally:
        del vars(layer)["call"]
        vars(layer).update(before)


def variables_of(network: keras.Model, layers: str) -> list[keras.Variable]:
    """Returns the trainable variables of some of a network's layers.

    Args:
        network: the network.
        layers: `"all"`, `"last"` for the last layer that has a kernel (of a subclassed network, in
            the order in which its layers were made), or the name of a layer: it and all that come
            after it in the order of the network's layers.

    Raises:
        ValueError: no such layer, or several of that name.
    """
    if layers == "all":
        return network.trainable_variables
    if layers == "last":
        return _last_kernel_and_bias(network)
    first = find_layer(network, layers)
    flat = network._flatten_layers(include_self=False)
    onward = flat[next(index for index, each in enumerate(flat) if each is first) :]
    return [variable for each in onward for variable in each.trainable_variables]


def _last_kernel_and_bias(network: keras.Model) -> list[keras.Variable]:
    """Returns the weights of the last layer with a kernel; all weights where there is none."""
    try:
        variables = last_dense(network).trainable_variables
    except ValueError:  # Subclassed, not built yet, or with a convolution at its end.
        variables = []
    if variables:
        return variables
    flat = network._flatten_layers(include_self=False)
    of_layers = [each.trainable_variables for each in flat if not isinstance(each, keras.Model)]
    with_kernels = [each for each in of_layers if any(len(one.shape) > 1 for one in each)]
    return with_kernels[-1] if with_kernels else network.trainable_variables


def find_layer(network: keras.Model, layer: keras.Layer | str) -> keras.Layer:
    """Returns the layer of the network, at any depth, that is named or given.

    Raises:
        ValueError: the network has no such layer, or several of that name.
    """
    layers = network._flatten_layers(include_self=False)
    found = [each for each in layers if layer in (each, each.name)]
    if len(found) == 1:
        return found[0]
    name = layer.name if isinstance(layer, keras.Layer) else layer
    number = "several layers" if found else "none"
    raise ValueError(
        f"Expected a layer of the network or its name. Received: {name!r}, of "
        f"which the network has {number}. Its layers: {', '.join(each.name for each in layers)}"
    )


def last_dense(network: keras.Model) -> keras.layers.Dense:
    """Returns the last Dense layer on the way to the output of a Functional or Sequential network.

    Only layers without weights of their own (activations, dropout, reshaping) may follow it.

    Raises:
        ValueError: the network has no graph (it is subclassed), is not built, or ends otherwise.
    """
    layer: keras.Layer | None = network
    while isinstance(layer, keras.Model):
        if isinstance(layer, keras.Sequential) and not layer.built:
            raise ValueError(
                "Expected a network that is built, to look for the last Dense layer in it. "
                f"Received: {layer.name!r}, a Sequential without weights yet. Begin it with "
                "keras.Input, or call its build(input_shape) first."
            )
        layer = _last_layer_with_weights(layer)
    if isinstance(layer, keras.layers.Dense):
        return layer
    raise ValueError(
        "This attack works on the penultimate features, the input of the last Dense layer, and "
        f"none was found at the end of the network {network.name!r} "
        f"({type(network).__name__}). Name the layer whose output is the features: "
        "RobustModel(..., features=layer_or_name)."
    )


def _last_layer_with_weights(network: keras.Model) -> keras.Layer | None:
    if isinstance(network, keras.Sequential):
        return next((each for each in reversed(network.layers) if each.weights), None)
    tensors = network.outputs[:1] if hasattr(network, "operations") else []
    while len(tensors) == 1:
        layer, node, _ = tensors[0]._keras_history
        if getattr(layer, "weights", None):
            return layer
        tensors = layer._inbound_nodes[node].input_tensors
    return None
