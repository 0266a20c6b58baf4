"""A Keras model around a network, which answers, is exported and is saved as that network."""

import functools
import inspect
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from tfpoison.classifier import computes_in_half_precision
from tfpoison.distribution import call_on_examples, spans_workers
from tfpoison.training import multi_worker
from tfpoison.training.arguments import check_network, check_strategy
from tfpoison.training.batch_check import checked, plain_errors


class NetworkWrapper(keras.Model):
    """A model that trains a network in a way of its own; all else of it is the network's.

    A subclass calls `build_as_network` once it has made its own variables: Keras takes no new ones
    of a model that is built.

    Raises:
        TypeError: the network is no Keras model.
        ValueError: it trains in a way of its own, has several outputs, or was made under another
            strategy.
    """

    train_function: Any  # Keras's: what `fit` calls for each batch.

    def __init__(self, network: keras.Model, *, name: str | None = None):
        check_network(network, NetworkWrapper)
        # The outer policy decides whether Keras scales the loss for half precision, nothing else.
        half = computes_in_half_precision(network)
        dtype = "mixed_float16" if half else network.dtype_policy
        super().__init__(name=name, dtype=dtype, autocast=False)
        check_strategy(self, network)
        self.network = network
        self._other_train_function: Any = None
        if spans_workers(self.distribute_strategy):
            multi_worker.bridge_log_reduction()

    def build_as_network(self) -> None:
        """Builds the model where its network is built."""
        shape = getattr(self.network, "input_shape", None)
        shape = shape or (self.network.get_build_config() or {}).get("input_shape")
        if self.network.built and shape:
            self.build(shape)  # Converters to other formats ask for the shape that it has seen.
        else:
            self.built = self.network.built

    def build(self, input_shape: Any) -> None:
        """Builds the network."""
        if not self.network.built:
            self.network(keras.KerasTensor(input_shape))  # A subclass need not have `build`.
        self.built = True

    @property
    def output_names(self) -> list[str] | None:
        """The names that losses and metrics may be given by: those of the network's outputs."""
        return getattr(self.network, "output_names", None)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the network's output; Keras hands `training` on to the network's layers."""
        return call_on_examples(self.network, inputs)

    @functools.wraps(keras.Model.export)
    def export(self, *args: Any, **kwargs: Any) -> None:
        """Exports the network; takes what `keras.Model.export` takes."""
        self.network.export(*args, **kwargs)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        strategy = self.distribute_strategy
        if iterator is not None and strategy.num_replicas_in_sync > 1:
            data_batch, iterator = multi_worker.first_local_batch(iterator, strategy), None
        super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)

    # Training.

    def create_state(self, x: Any, y: Any = None) -> None:
        """Creates variables before a training step is traced, given what `fit` is given."""

    def check_batch(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Raises ValueError where a batch cannot be trained on."""

    def checks_of_fit(self) -> list[keras.callbacks.Callback]:
        """Returns the callbacks that go with every `fit`."""
        return []

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the network; takes what `keras.Model.fit` takes."""
        bound = inspect.signature(keras.Model.fit).bind(self, *args, **kwargs)
        arguments = bound.arguments
        x, y, callbacks = (arguments.get(each) for each in ("x", "y", "callbacks"))
        self.create_state(x, y)
        arguments["x"] = checked(x, y, self.check_batch)
        ours = self.checks_of_fit()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            for callback in ours:
                callback.set_model(self)
                callbacks.append(callback)
        elif ours:
            arguments["callbacks"] = [*ours, *keras.tree.flatten(callbacks or [])]
        with plain_errors():
            return super().fit(*bound.args[1:], **bound.kwargs)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains the network on one batch; takes what `keras.Model.train_on_batch` takes."""
        if self.train_function is None:
            self.create_state(x, y)
        x = checked(x, y, self.check_batch)
        return super().train_on_batch(x, y, *args, **kwargs)

    def swap_train_functions(self) -> None:
        """Puts another training function in place of the traced one, which the next swap brings."""
        self.make_train_function()
        functions = self._other_train_function, self.train_function
        self.train_function, self._other_train_function = functions
        super().make_train_function()

    def make_train_function(self, force: bool = False) -> None:
        """Makes the training function where there is none; `compile` has forgotten the other's."""
        if force or self.train_function is None:
            self._other_train_function = None
        super().make_train_function(force)

    # Saving and loading.

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the model as Keras serialises them."""
        return {
            "network": keras.saving.serialize_keras_object(self.network),
            "dtype": keras.saving.serialize_keras_object(self.network.dtype_policy),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the model that `get_config` described."""
        config = {
            name: value if isinstance(value, str) else keras.saving.deserialize_keras_object(value)
            for name, value in config.items()
        }
        # Keras forgets the policy of a network, though not those of its layers; the optimizer is
        # wrapped in loss scaling by it.
        if policy := config.pop("dtype", None):
            config["network"].dtype_policy = policy
        return cls(**config)

    @functools.wraps(keras.Model.load_weights)
    def load_weights(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Loads the weights that this model, or the network by itself, has saved."""
        try:
            super().load_weights(filepath, *args, **kwargs)
        except ValueError as error:
            try:
                self.network.load_weights(filepath, *args, **kwargs)
            except ValueError:
                raise error from None  # Of neither: what is said of this model is nearer.

    def save_own_variables(self, store: Any) -> None:
        """Saves what Keras leaves out."""
        for name, variable in self._own_variables().items():
            store[name] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        """Restores what `save_own_variables` saved."""
        for name, variable in self._own_variables().items():
            variable.assign(store[name])

    def _own_variables(self) -> dict[str, keras.Variable]:
        """Returns the network's random state; a subclass adds variables of its own."""
        weights = {id(weight) for weight in self.network.weights}
        random_states = [each for each in self.network.variables if id(each) not in weights]
        return {f"random_state_{number}": state for number, state in enumerate(random_states)}
