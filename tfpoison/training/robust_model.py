"""The defense: a Keras model that poisons its own training batches, with their true labels."""

import functools
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpoison.attacks.batch_attack import BatchAttack, PoisonedBatch
from tfpoison.attacks.crafting import STEP_SETTINGS, Crafting
from tfpoison.attacks.zoo import DEFAULT
from tfpoison.batch import LabelEncoding, check_labels
from tfpoison.checks import check_number
from tfpoison.classifier import Classifier
from tfpoison.defenses.mixing.base import Mixing
from tfpoison.defenses.mixing.table import MIXINGS
from tfpoison.defenses.transforms.base import Transform
from tfpoison.defenses.transforms.table import TRANSFORMS
from tfpoison.distribution import Reduction, lend_example, replica_id
from tfpoison.pixel_range import PixelRange
from tfpoison.purity import compile_functions
from tfpoison.randomness import Purpose
from tfpoison.training.arguments import check_features, check_no_synchronisation, compiles_by_xla
from tfpoison.training.batch_check import check_pixels
from tfpoison.training.batches import CraftedImages, labels_alone, symbolic_batch, unpack
from tfpoison.training.callbacks import crafting_callbacks
from tfpoison.training.lasting import add_lasting, add_state
from tfpoison.training.wrapper import NetworkWrapper

# What is built into the compiled training step.
_SETTINGS = (
    *("network", "in_step", "attack", *STEP_SETTINGS),
    *("pixels", "transform", "mixing", "features", "reduction", "seed"),
)


@keras.saving.register_keras_serializable("tfpoison")
class RobustModel(NetworkWrapper):
    """Adversarial poisoning (arXiv 2102.13624) around any Keras classifier.

    Every training step splits its batch into poisons and temporary targets, crafts the poisons
    against the network as it is, and makes Keras's own training step on the batch so changed, with
    the true labels. Batches may be transformed and mixed after crafting too, or instead of it.

        model = tfpoison.RobustModel(network)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(train, validation_data=validation, epochs=40)
        network.save("classifier.keras")

    `evaluate`, `predict` and `export` are those of the network. The logs of `fit` show the attack's
    objective before and after crafting (`objective_before`, `objective_after`) on the first batch
    of every epoch, on each replica's own images; in a warm-up epoch it is the same twice. Crafting
    uses the loss given to `compile`, without the sample weights and regularisers of the training.

    Poisons are crafted in this model's own training step alone: as a layer of another model, or in
    a training loop of one's own, it warns that they are not. Its settings stay as they are given.
    `load_weights` takes what this model or its network has saved; the network takes its own alone.

    Args:
        network: a classifier with one output, (n, classes), or (n, 1) for two classes; logits or
            probabilities, as the loss expects. Under a strategy both the network and this model
            must be made within its scope.
        attack: a name of `tfpoison.attacks`, several with `+` between, each on a part of the batch,
            an `Attack`, a `Crafting`, which says the settings of crafting as well, or None for
            plain training. The paper has `"gradient_matching"`.
        pixel_range: (low, high) that the pixels live in: two numbers, or a sequence for each with a
            number for each channel. ε and step sizes are shares of it.
        transform: a name of `tfpoison.defenses.transforms`, a `Transform`, or None: what every
            image is trained on through. Poisons are crafted through it as well.
        mixing: a name of `tfpoison.defenses.mixing`, a `Mixing`, or None. Mixed images need one-hot
            labels. Each image keeps its own sample weight.
        features: for attacks on features: the layer whose output they are, or its name; None for
            the input of the last Dense layer.
        seed: the seed of all random draws, which differ by step and by replica.
        **crafting: the settings of `tfpoison.attacks.Crafting`, and with an attack's name its own:
            `epsilon`, `steps`, `step_size`, `optimizer`, `initializer`, …

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a value cannot be, two exclude each other, or the network trains in its own way.
            In `fit`: the data are not (images, labels[, sample weights]), or pixels out of range.
    """

    attack: BatchAttack | None
    poison_fraction: float
    target_selection: str
    warmup_epochs: int
    matching: str
    batch_statistics: bool

    def __init__(
        self,
        network: keras.Model,
        attack: str | BatchAttack | Crafting | None = DEFAULT,
        *,
        pixel_range: Any = (0.0, 1.0),
        transform: str | Transform | None = None,
        mixing: str | Mixing | None = None,
        features: keras.Layer | str | None = None,
        seed: int = 0,
        name: str | None = None,
        **crafting: Any,
    ):
        super().__init__(network, name=name)
        check_number("seed", seed, minimum=0, whole=True)
        self.in_step = Crafting.of(attack, **crafting)
        for setting, value in self._settings_in_step().items():
            setattr(self, setting, value)
        self.pixels = PixelRange(pixel_range)
        if self.batch_statistics and self.distribute_strategy.num_replicas_in_sync > 1:
            check_no_synchronisation(network)
        self.transform = TRANSFORMS.get(transform)
        self.supports_jit = compiles_by_xla(network, self.attack, self.transform)
        self.mixing = MIXINGS.get(mixing)
        self.features = features.name if isinstance(features, keras.Layer) else features
        self.reduction = Reduction(self.matching)
        self.seed = int(seed)
        check_features(network, self.attack, features)
        check_features(network, self.attack, self.features)  # Saved models know it by its name.
        self._crafting = self.attack is not None
        self._own_steps = 0
        self._outputs: int | None = None  # Known from the first data on.
        self._lasting: list[list[keras.Variable]] = []
        self._steps = add_state(self, "steps", tf.constant(0, tf.int64))
        self._objective_before = keras.metrics.Mean(name="objective_before")
        self._objective_after = keras.metrics.Mean(name="objective_after")
        self._lowest_pixel = keras.metrics.Mean(name="lowest_pixel")
        self._highest_pixel = keras.metrics.Mean(name="highest_pixel")
        self._of_no_other_class = keras.metrics.Mean(name="of_no_other_class")
        self.build_as_network()

    def build(self, input_shape: Any) -> None:
        """Builds the network, and the parameters that the attack keeps from step to step."""
        super().build(input_shape)
        if self.attack is not None and not self._lasting:
            self._lasting = add_lasting(self, self.attack, input_shape[1:], self.seed)

    def _settings_in_step(self) -> dict[str, Any]:
        """Returns what is said of crafting, with the poison fraction that it comes to."""
        if self.in_step is None:
            return {"attack": None} | STEP_SETTINGS | {"poison_fraction": 0.0}
        return vars(self.in_step) | {"poison_fraction": self.in_step.share}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTINGS and name in vars(self):
            raise AttributeError(
                f"Expected `{name}` of a RobustModel to stay as it is: the training step has it "
                f"built in. Received: {name}={value!r}. Make another model around the network, "
                "RobustModel(model.network, ...), and compile it, with the same optimizer to go on."
            )
        super().__setattr__(name, value)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns the network's output; warns where a training that crafts nothing asks."""
        if training and self._defends and not self._own_steps and self.trainable_variables:
            warnings.warn(
                "Nothing is crafted here: RobustModel is called with training=True by "
                f"{self._caller()}, and it crafts and mixes in its own training step alone (`fit`, "
                "`train_on_batch`). Wrap the whole model, RobustModel(whole_model), and train "
                "that; or train `model.network` on what `model.craft` returns.",
                stacklevel=2,
            )
        return super().call(inputs)

    @property
    def _defends(self) -> bool:
        return any(each is not None for each in (self.attack, self.transform, self.mixing))

    def _caller(self) -> str:
        outermost = self._get_call_context().entry_layer
        return "a training loop" if outermost is self else f"the model {outermost.name!r}"

    def checks_of_fit(self) -> list[keras.callbacks.Callback]:
        """Returns the callbacks that look after crafting."""
        return [] if self.attack is None else crafting_callbacks(self.warmup_epochs)

    def check_batch(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Raises ValueError where the step cannot be made on a batch."""
        depends = self.attack is not None or self.transform is not None
        check_pixels(images, self.pixels if depends else None)
        if self.attack is not None and self._outputs is not None:
            check_labels(labels, self._outputs)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Splits the batch, attacks and joins it, and makes Keras's own training step on that."""
        self._own_steps += 1  # Replicas take turns within it.
        try:
            data = lend_example(data)
            if self._defends:
                data = self._poison_and_mix(data)
            logs = super().train_step(data)
        finally:
            self._own_steps -= 1
        return logs | {metric.name: metric.result() for metric in self._objective_metrics()}

    def _poison_and_mix(self, data: Any) -> Any:
        """Returns the batch to train on; a warm-up epoch crafts nothing."""
        images, labels, sample_weight = unpack(data)
        if self.attack is not None:
            images = self._poison(self.attack, images, labels)
        if self.transform is not None:
            images = self.transform(images, self.pixels.get_config())
        if self.mixing is not None:
            images, labels = self._mix(self.mixing, images, labels)
        if self.crafting or self.mixing is not None:
            self._steps.assign_add(1)
        return images, keras.tree.pack_sequence_as(data[1], [labels]), sample_weight

    def _poison(self, attack: BatchAttack, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the poisoned batch; in the warm-up the batch as it is, with its objective."""
        if not self.crafting:
            if not attack.objectives:
                return images
            attack = attack.without_steps()
        # Evaluating the objective costs as much as crafting steps: once an epoch is enough.
        first = tf.equal(tf.convert_to_tensor(self._objective_before.count), 0)
        poisoned = self._split_and_attack(
            attack, self.classifier(self.reduction), images, labels, replica_id(), measure=first
        )
        self._record(poisoned, images, first)
        if not self.crafting:
            return images
        for variables, values in zip(self._lasting, poisoned.kept, strict=False):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return poisoned.images

    def _mix(
        self, mixing: Mixing, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        key = Purpose.MIXING.key(self.seed, self._steps.value, replica_id())
        return mixing.mix(Classifier(self.network, self.loss), images, labels, key)

    def create_state(self, x: Any, y: Any = None) -> None:
        """Creates the variables of network, optimizer and metrics before the step is traced.

        TensorFlow traces a function twice that creates variables, and tracing takes seconds. Under
        a strategy Keras creates them beforehand itself.
        """
        symbolic = symbolic_batch(x, y)
        if symbolic is None or not self.compiled:
            return
        images, labels = symbolic
        if self._distribute_strategy is None:
            # Before Keras traces the network within a scope of its own, see `compile_functions`.
            batch = tf.TensorSpec(images.shape)
            if not self.network.built or not self._asks_the_network():
                compile_functions(self.network, self.network, batch)
            if self._asks_the_network():
                self.classifier().check_purity(batch)
            if not self.built:
                self.build(images.shape)
        if self.attack is not None and self.network.built:
            self._outputs = self.classifier().count_outputs(images)
            LabelEncoding.infer(labels_alone(labels), self._outputs)
        if self._distribute_strategy is None:
            self._symbolic_build(data_batch=symbolic)

    def _asks_the_network(self) -> bool:
        crafts = self.attack is not None and bool(self.attack.objectives)
        return crafts or (self.mixing is not None and self.mixing.needs_classifier)

    def classifier(self, reduction: Reduction | None = None) -> Classifier:
        """Returns the network as attacks see it, with the loss given to `compile`."""
        return Classifier(
            self.network,
            self.loss,
            feature_layer=self.features,
            reduction=reduction or Reduction("replica"),
            batch_statistics=self.batch_statistics,
        )

    def craft(self, images: Any, labels: Any) -> CraftedImages:
        """Crafts what the next training step would make of a batch on one device.

        Args:
            images: (n, height, width, channels).
            labels: integers or one-hot.

        Returns:
            The images before and after, and which of them are poisons.

        Raises:
            ValueError: there is no attack, or the model is not compiled.
        """
        if self.attack is None:
            raise ValueError("Expected a model with an attack to craft with. Received: attack=None")
        images, labels, _ = unpack(tuple(map(tf.convert_to_tensor, (images, labels))))
        self._outputs = self.classifier().count_outputs(images)
        self.check_batch(images.numpy(), labels.numpy())
        made = self._split_and_attack(self.attack, self.classifier(), images, labels, replica=0)
        return CraftedImages(images, made.images, made.is_poison)

    def _split_and_attack(
        self,
        attack: BatchAttack,
        classifier: Classifier,
        images: tf.Tensor,
        labels: tf.Tensor,
        replica: tf.Tensor | int,
        measure: tf.Tensor | bool = False,
    ) -> PoisonedBatch:
        self.pixels.check_channels(images.shape[-1])
        self._outputs = classifier.count_outputs(images)
        return attack.poison(
            classifier,
            images,
            labels,
            selection=self.target_selection,
            poison_fraction=None if self.in_step is None else self.in_step.poison_fraction,
            pixels=self.pixels,
            encoding=LabelEncoding.infer(labels, self._outputs),
            key=Purpose.CRAFTING.key(self.seed, self._steps.value, replica),
            measure=measure,
            start=keras.tree.map_structure(lambda each: tf.cast(each, images.dtype), self._lasting),
            transform=self.transform
            and functools.partial(self.transform, pixel_range=self.pixels.get_config()),
        )

    def set_first_step(self, step: int) -> None:
        """Makes the draws of crafting, by seed and step, those of a training from that step on."""
        self._steps.assign(step)

    @property
    def crafting(self) -> bool:
        """Whether training steps craft, as `set_crafting` has it."""
        return self._crafting

    def set_crafting(self, crafting: bool) -> None:
        """Turns crafting on or off; each kind of training step is traced once."""
        if crafting != self.crafting:
            self._crafting = crafting
            self.swap_train_functions()

    def _crafting_metrics(self) -> list[keras.metrics.Metric]:
        pixels = [self._lowest_pixel, self._highest_pixel]
        return [self._objective_before, self._objective_after, *pixels, self._of_no_other_class]

    def _objective_metrics(self) -> list[keras.metrics.Metric]:
        if self.attack is None or not self.attack.objectives:
            return []
        return [self._objective_before, self._objective_after]

    def _record(self, poisoned: PoisonedBatch, images: tf.Tensor, measured: tf.Tensor) -> None:
        shares = self.pixels.to_shares(images)
        self._lowest_pixel.update_state(tf.reduce_min(shares))
        self._highest_pixel.update_state(tf.reduce_max(shares))
        if self.attack is not None and self.attack.needs_targets:
            self._of_no_other_class.update_state(poisoned.of_no_other_class)
        for metric, value in zip(self._objective_metrics(), poisoned.measured, strict=False):
            metric.update_state(value, sample_weight=tf.cast(measured, tf.float32))

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns the metrics; those of crafting only where something was crafted."""
        shown = []
        if tf.executing_eagerly() and tf.convert_to_tensor(self._objective_before.count) > 0:
            shown = self._objective_metrics()
        hidden = {metric.name for metric in self._crafting_metrics() if metric not in shown}
        results = super().get_metrics_result().items()
        return {name: value for name, value in results if name not in hidden}

    def seen_pixels(self) -> tuple[Any, Any]:
        """Returns the means over this epoch's batches of their extremes, in shares of the range."""
        return self._lowest_pixel.result(), self._highest_pixel.result()

    def share_of_no_other_class(self) -> Any:
        """Returns the share of this epoch's targets that met no poison of another class."""
        return self._of_no_other_class.result()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the model as Keras serialises them."""
        step = {name: getattr(self.in_step, name, STEP_SETTINGS[name]) for name in STEP_SETTINGS}
        return (
            super().get_config()
            | step
            | {
                "attack": keras.saving.serialize_keras_object(self.attack),
                "pixel_range": self.pixels.get_config(),
                "transform": keras.saving.serialize_keras_object(self.transform),
                "mixing": keras.saving.serialize_keras_object(self.mixing),
                "features": self.features,
                "seed": self.seed,
            }
        )

    def _own_variables(self) -> dict[str, keras.Variable]:
        lasting = {each.name: each for part in self._lasting for each in part}
        return {"steps": self._steps} | lasting | super()._own_variables()
