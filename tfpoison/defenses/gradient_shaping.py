"""Gradient shaping: gradients are clipped and noised before the optimizer sees them."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfpoison.checks import check_number
from tfpoison.configurable import Configurable
from tfpoison.distribution import Reduction
from tfpoison.perturbations.initializers import laplace, normal
from tfpoison.randomness import Purpose
from tfpoison.settings import setting

DISTRIBUTIONS = {"gaussian": normal, "laplacian": laplace}
# What the wrapped optimizer has as well, or may come to have.
_OWN = {"name", "built", "inner_optimizer", "clip_norm", "noise", "distribution", "seed"}
# Settings of an optimizer that it cannot have where it is wrapped, and why.
_REFUSED = {
    "clipnorm": "clip_norm of GradientShaping clips",
    "clipvalue": "clip_norm of GradientShaping clips",
    "global_clipnorm": "clip_norm of GradientShaping clips",
    "gradient_accumulation_steps": "each part would be clipped and noised for itself",
    "loss_scale_factor": "scaled gradients would be clipped",
}


@dataclasses.dataclass(frozen=True)
class Shaping(Configurable):
    """How gradients are shaped; see `GradientShaping`. It needs no device, as optimizers do."""

    clip_norm: float | None = setting(
        1.0, "The greatest norm of the gradient; None not to clip.", above=0
    )
    noise: float = setting(
        0.01, "The noise's scale in units of clip_norm, of 1 without clipping.", minimum=0
    )
    distribution: str = setting("gaussian", "The noise's distribution.", choices=DISTRIBUTIONS)


@keras.saving.register_keras_serializable("tfpoison")
@keras.saving.register_keras_serializable("tfpoison", "DPSGD")  # Its name in older saved models.
class GradientShaping(keras.optimizers.Optimizer):
    """Wraps an optimizer: each step's gradient is clipped and noised first.

        g ← Σ over replicas of g                         the gradient of the whole batch
        g ← g · min(1, clip_norm / ‖g‖₂)                 one norm over all trainable weights
        g ← g + noise · clip_norm · z                    z ~ N(0, 1) or Laplace(0, 1), every weight

        model.compile(GradientShaping(keras.optimizers.SGD(0.1), clip_norm=1.0, noise=0.01), loss)

    Gradient shaping is from Hong et al. (arXiv 2002.11497). This is the form of it that the code of
    arXiv 2102.13624 compares with, and calls differentially private SGD. Unlike in Hong et al. and
    in the DP-SGD of Abadi et al. (arXiv 1607.00133), the gradient of the batch is clipped, not that
    of each example, so that batch normalisation keeps its meaning; **no privacy guarantee
    follows**. The noise does not shrink with the batch.

    Regularisers are part of the loss, hence of the gradient that is clipped; weight decay of the
    wrapped optimizer acts after the noise. Weights without a gradient get no noise. Sparse
    gradients (of embeddings) become dense, since noise is.

    All replicas of a strategy see the same noise: one draw, keyed by the seed, the wrapped
    optimizer's iterations and the weight's place among the trainable weights, so that a resumed
    training draws what an uninterrupted one draws. (Under XLA TensorFlow draws other numbers from
    the same key.) In half precision leave the loss scaling to Keras, which puts it around this
    optimizer: what is clipped is then unscaled.

    Args:
        optimizer: the optimizer that makes the step, its name, or what Keras serialised it to.
        clip_norm: the greatest Euclidean norm of the gradient, above 0; None not to clip.
        noise: z's scale in units of `clip_norm` (of 1 without clipping), at least 0: Gaussian noise
            has that deviation, Laplacian noise √2 times it.
        distribution: `"gaussian"` or `"laplacian"`.
        seed: the seed of the noise.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument has a value that cannot be, or `optimizer` is a GradientShaping,
            scales losses, or clips or accumulates gradients itself.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str | dict[str, Any],
        clip_norm: float | None = 1.0,
        noise: float = 0.01,
        distribution: str = "gaussian",
        seed: int = 0,
        name: str | None = None,
    ):
        if isinstance(optimizer, str | dict):
            optimizer = keras.optimizers.get(optimizer)
        _check_optimizer(optimizer)
        shaping = Shaping(clip_norm, noise, distribution)
        check_number("seed", seed, minimum=0, whole=True)
        super().__init__(learning_rate=0.0, name=name)  # The rate is the wrapped optimizer's.
        self.inner_optimizer = optimizer
        self.clip_norm, self.noise = shaping.clip_norm, shaping.noise
        self.distribution = distribution
        self.seed = int(seed)
        self._first_step = self.add_variable(
            shape=(), dtype="int64", aggregation="only_first_replica", name="first_step"
        )
        del self.weight_decay  # Keras's constructor has set one: it is the wrapped optimizer's.

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the wrapped optimizer's variables."""
        self.inner_optimizer.build(variables)
        super().build(variables)

    def apply(
        self,
        grads: Sequence[Any],
        trainable_variables: Iterable[keras.Variable] | None = None,
    ) -> None:
        """Shapes this replica's gradients, and has the wrapped optimizer apply them.

        Raises:
            ValueError: there are no variables, unknown ones or too few of them, or it is called
                outside the replicas of a strategy.
        """
        if tf.distribute.in_cross_replica_context():
            raise ValueError(
                "Expected `apply` to be called within `strategy.run`. Received: a call in "
                "cross-replica context"
            )
        variables = self._build_for(trainable_variables)
        shaped = {
            index: gradient
            for index, (gradient, variable) in enumerate(zip(grads, variables, strict=True))
            if gradient is not None and not self._overwrite_variable_with_gradient(variable)
        }
        places = [self._get_variable_index(variables[index]) for index in shaped]
        reduction = Reduction("global")
        gradients = reduction.sum([tf.convert_to_tensor(each) for each in shaped.values()])
        gradients = self._add_noise(self._clip(gradients), places)
        # The wrapped optimizer sums over replicas once more: equal parts give the same sum again.
        parts = [gradient / reduction.replicas for gradient in gradients]
        changed = dict(zip(shaped, parts, strict=True))
        grads = [changed.get(index, gradient) for index, gradient in enumerate(grads)]
        self.inner_optimizer.apply(grads, variables)

    def _build_for(self, variables: Iterable[keras.Variable] | None) -> list[keras.Variable]:
        if variables is None and not self.built:
            raise ValueError(
                "Expected `trainable_variables` beside the gradients, or an optimizer that is "
                "built: call `build(trainable_variables)` first. Received: neither"
            )
        variables = self._trainable_variables if variables is None else list(variables)
        if not self.built:
            with keras.name_scope(self.name):
                self.build(variables)
        self._check_variables_are_known(variables)
        return variables

    def _clip(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the gradients, scaled together to the norm `clip_norm` if theirs is greater."""
        if self.clip_norm is None or not gradients:
            return gradients
        wide = _at_least_single(*gradients)
        norm = tf.linalg.global_norm([tf.cast(each, wide) for each in gradients])
        scale = tf.minimum(tf.ones([], wide), self.clip_norm / norm)
        return [tf.cast(tf.cast(each, wide) * scale, each.dtype) for each in gradients]

    def _add_noise(self, gradients: list[tf.Tensor], places: list[int]) -> list[tf.Tensor]:
        """Returns the gradients, each with the noise of its place among the weights."""
        if not self.noise:
            return gradients
        draw = DISTRIBUTIONS[self.distribution]
        scale = self.noise * (1.0 if self.clip_norm is None else self.clip_norm)
        step = self._first_step.value + tf.cast(self.iterations, tf.int64)
        noised = []
        for gradient, place in zip(gradients, places, strict=True):
            wide = _at_least_single(gradient)
            key = Purpose.GRADIENT_NOISE.key(self.seed, step, place)
            noise = draw(tf.shape(gradient), key, wide)
            noised.append(tf.cast(tf.cast(gradient, wide) + scale * noise, gradient.dtype))
        return noised

    def set_first_step(self, step: int) -> None:
        """Starts the noise at another step's, so that trainings draw apart without a new trace."""
        self._first_step.assign(step)

    # What is the wrapped optimizer's.

    @property
    def variables(self) -> list[keras.Variable]:
        """Its own variables and the wrapped optimizer's."""
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> keras.Variable:
        """The number of steps made."""
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """The wrapped optimizer's learning rate; can be assigned."""
        return self.inner_optimizer.learning_rate

    def __getattr__(self, name: str) -> Any:
        """Returns a setting of the wrapped optimizer."""
        if name.startswith("_") or "inner_optimizer" not in vars(self):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.inner_optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets what is a setting of the wrapped optimizer there."""
        inner = vars(self).get("inner_optimizer")
        if inner is None or name in _OWN or name.startswith("_") or not hasattr(inner, name):
            super().__setattr__(name, value)
        else:
            _check_setting(inner, name, value)
            setattr(inner, name, value)

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "clip_norm": self.clip_norm,
            "noise": self.noise,
            "distribution": self.distribution,
            "seed": self.seed,
            "name": self.name,
        }


def _at_least_single(*tensors: tf.Tensor) -> tf.DType:
    """Returns the precision to count in: squares of half precision overflow."""
    return tf.float64 if any(each.dtype == tf.float64 for each in tensors) else tf.float32


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(
            "Expected `optimizer` to be a keras.optimizers.Optimizer or the name of one. "
            f"Received: optimizer={optimizer!r}"
        )
    if isinstance(optimizer, GradientShaping):
        raise ValueError(
            "Expected an optimizer that is not wrapped already. Received a GradientShaping: wrap "
            "the optimizer within it, `optimizer.inner_optimizer`."
        )
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            "Expected an optimizer without loss scaling, or scaled gradients would be clipped. "
            "Received a LossScaleOptimizer: wrap the optimizer within it, `inner_optimizer`, and "
            "put the loss scaling around GradientShaping. Keras does so itself under mixed_float16."
        )
    # A keras.optimizers.MultiOptimizer has several within it.
    for each in (optimizer, *getattr(optimizer, "optimizers", ())):
        for name in _REFUSED:
            _check_setting(each, name, getattr(each, name, None))


def _check_setting(optimizer: keras.optimizers.Optimizer, name: str, value: Any) -> None:
    if name in _REFUSED and value is not None:
        raise ValueError(
            f"Expected an optimizer without `{name}`: {_REFUSED[name]}. Received: "
            f"{name}={value!r} of {type(optimizer).__name__}"
        )
