"""The clipped and noised gradient, worked out by hand, and the optimizers it is handed to."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfpoison
from tfpoison.defenses.gradient_shaping import DISTRIBUTIONS, GradientShaping
from tfpoison.randomness import Purpose

SEED = 5


def sgd(rate=1.0, **settings):
    return keras.optimizers.SGD(rate, **settings)


def the_optimizer_alone(optimizer):
    """Neither clips nor adds noise."""
    return GradientShaping(optimizer, clip_norm=None, noise=0.0)


def moves(optimizer, *gradients, dtype="float32"):
    """Returns how far one step at rate 1 goes against each gradient."""
    variables = [keras.Variable(np.zeros(np.shape(each)), dtype=dtype) for each in gradients]
    optimizer.apply([tf.constant(each, dtype) for each in gradients], variables)
    return [-variable.numpy() for variable in variables]


def expected_noise(distribution, step, place, shape):
    """A second implementation: the key folded by hand, the Laplace draw by its inverse."""
    key = tf.constant([SEED, 0], tf.int32)
    for number in (Purpose.GRADIENT_NOISE.value, step, place):
        for word in (number, 0):
            key = tf.random.experimental.stateless_fold_in(key, word)
    if distribution == "gaussian":
        return tf.random.stateless_normal(shape, key).numpy()
    share = tf.random.stateless_uniform(shape, key, -1, 1).numpy()
    return -np.sign(share) * np.log1p(-np.abs(share))


def make_network():
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])


def make_data():
    draw = np.random.default_rng(0)
    images = draw.uniform(size=(48, 8, 8, 3)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((images, draw.integers(4, size=48))).batch(16)


def compiled(optimizer, robust=False, **settings):
    model = make_network()
    if robust:
        model = tfpoison.RobustModel(model, attack="evasion", steps=1)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **settings)
    return model


def fit(model, epochs=1, **settings):
    model.fit(make_data(), epochs=epochs, shuffle=False, verbose=0, **settings)
    return model


def weights(model):
    return np.concatenate([each.ravel() for each in model.get_weights()])


# The gradient.


def test_one_norm_over_all_weights():
    # The norm of (3, 4) and (12) together is 13.
    clipped = moves(GradientShaping(sgd(), clip_norm=1.0, noise=0.0), [3.0, 4.0], [12.0])
    np.testing.assert_allclose(clipped[0], [3 / 13, 4 / 13], rtol=1e-6)
    np.testing.assert_allclose(clipped[1], [12 / 13], rtol=1e-6)


@pytest.mark.parametrize("clip_norm", [13.0, 20.0, None])
def test_short_gradients_pass(clip_norm):
    passed = moves(GradientShaping(sgd(), clip_norm=clip_norm, noise=0.0), [3.0, 4.0], [12.0])
    np.testing.assert_array_equal(np.concatenate(passed), [3, 4, 12])


def test_a_gradient_of_zero_stays():
    np.testing.assert_array_equal(moves(GradientShaping(sgd(), noise=0.0), [0.0, 0.0]), [[0, 0]])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize(("clip_norm", "scale"), [(2.0, 0.5), (None, 0.25)])
def test_two_steps_by_hand(distribution, clip_norm, scale):
    optimizer = GradientShaping(sgd(), clip_norm, 0.25, distribution, seed=SEED)
    variables = [keras.Variable([1.0, 2.0, 3.0]), keras.Variable([[4.0]])]
    values = [variable.numpy() for variable in variables]
    gradients = [np.array([0.0, 3.0, 0.0], "float32"), np.array([[4.0]], "float32")]  # Norm 5.
    for step in range(2):
        optimizer.apply([tf.constant(each) for each in gradients], variables)
        for place, gradient in enumerate(gradients):
            factor = 1 if clip_norm is None else clip_norm / 5
            noise = expected_noise(distribution, step, place, gradient.shape)
            values[place] = values[place] - (factor * gradient + scale * noise)
    for variable, value in zip(variables, values, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    # Of 40,000 draws: deviation, mean of |z| and fourth moment, in units of the scale.
    ("distribution", "deviation", "absolute", "fourth"),
    [("gaussian", 1.0, np.sqrt(2 / np.pi), 3.0), ("laplacian", np.sqrt(2), 1.0, 24.0)],
)
def test_scale_and_distribution(distribution, deviation, absolute, fourth):
    noise = moves(GradientShaping(sgd(), 4.0, 0.05, distribution), np.zeros((200, 200)))[0] / 0.2
    # Standard errors: deviation / 200 of the mean, under 1 % of the others, 5 % of the Laplacian's
    # fourth moment (its eighth is 8! = 40320).
    assert abs(noise.mean()) < 4 * deviation / 200
    np.testing.assert_allclose(noise.std(), deviation, rtol=0.03)
    np.testing.assert_allclose(np.abs(noise).mean(), absolute, rtol=0.03)
    np.testing.assert_allclose((noise**4).mean(), fourth, rtol=0.2)


def test_noise_differs_by_weight_step_and_seed():
    zeros = np.zeros(10_000)
    one, other = moves(GradientShaping(sgd(), noise=1.0), zeros, zeros)
    (another_seed,) = moves(GradientShaping(sgd(), noise=1.0, seed=1), zeros)
    shifted = GradientShaping(sgd(), noise=1.0)
    shifted.set_first_step(1)
    (another_step,) = moves(shifted, zeros)
    draws = [one, other, another_seed, another_step]
    # Correlations of independent draws have a standard error of 0.01.
    assert np.abs(np.corrcoef(draws) - np.eye(4)).max() < 0.05
    np.testing.assert_array_equal(moves(GradientShaping(sgd(), noise=1.0), zeros)[0], one)


def test_first_step_and_iterations_count_alike():
    variable = keras.Variable(np.zeros(8))
    optimizer = GradientShaping(sgd(), noise=1.0)
    optimizer.apply([tf.zeros(8)], [variable])
    after_one = variable.numpy()
    optimizer.apply([tf.zeros(8)], [variable])
    shifted = GradientShaping(sgd(), noise=1.0)
    shifted.set_first_step(1)
    np.testing.assert_allclose(
        moves(shifted, np.zeros(8))[0], after_one - variable.numpy(), atol=1e-6
    )


@pytest.mark.parametrize(("dtype", "places"), [("float16", 3), ("bfloat16", 2), ("float64", 14)])
def test_other_precisions(dtype, places):
    # 300² overflows half precision.
    clipped = moves(GradientShaping(sgd(), 5.1, 0.0), [300.3, 400.4], dtype=dtype)[0]
    np.testing.assert_allclose(np.asarray(clipped, "float64"), [3.06, 4.08], rtol=10.0**-places)
    noised = moves(GradientShaping(sgd(), 5.0, 0.1), np.zeros(1000), dtype=dtype)[0]
    np.testing.assert_allclose(np.asarray(noised, "float64").std(), 0.5, rtol=0.1)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_weights_without_gradient():
    variables = [keras.Variable([1.0]), keras.Variable([1.0, 1.0]), keras.Variable([1.0])]
    optimizer = GradientShaping(sgd(), 1.0, 0.25, seed=SEED)
    optimizer.apply([None, tf.constant([3.0, 4.0]), tf.constant([0.0])], variables)
    np.testing.assert_array_equal(variables[0].numpy(), [1.0])
    # Its noise is that of its place among all weights.
    noise = expected_noise("gaussian", 0, 1, [2])
    expected = 1 - np.array([0.6, 0.8]) - noise / 4
    np.testing.assert_allclose(variables[1].numpy(), expected, atol=1e-6)
    with pytest.raises(ValueError, match="No gradients"):
        optimizer.apply([None, None, None], variables)


def test_sparse_gradients():
    # Row 1 occurs twice: its gradient is (3 + 3, 8), of norm 10.
    values = tf.constant([[3.0, 4.0], [3.0, 4.0]])
    sparse = tf.IndexedSlices(values, tf.constant([1, 1]), tf.constant([3, 2]))
    table = keras.Variable(np.zeros((3, 2)))
    GradientShaping(sgd(), clip_norm=5.0, noise=0.0).apply([sparse], [table])
    np.testing.assert_allclose(-table.numpy(), [[0, 0], [3, 4], [0, 0]], rtol=1e-6)


def test_values_that_are_no_gradients_pass():
    # Keras's float8 layers overwrite such variables with what stands in for their gradient.
    scale, weight = keras.Variable([1.0]), keras.Variable([0.0])
    scale.overwrite_with_gradient = True
    optimizer = GradientShaping(sgd(), clip_norm=1.0, noise=0.0)
    optimizer.apply([tf.constant([100.0]), tf.constant([0.5])], [scale, weight])
    assert (scale.numpy(), weight.numpy()) == (100.0, -0.5)


def test_trained_embedding():
    layers = [keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 2)]
    model = keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(GradientShaping(sgd(), 1.0, 0.1), "mse")
    before = model.layers[0].get_weights()[0]
    model.fit(np.zeros((4, 3), "int32"), np.ones(4), verbose=0)
    # Rows that no example names move by their noise.
    assert (model.layers[0].get_weights()[0] != before).all()


# The wrapped optimizer.


@pytest.mark.parametrize(
    "make",
    [
        lambda: sgd(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda: keras.optimizers.Adam(0.1, amsgrad=True),
        lambda: keras.optimizers.Adam(0.1, use_ema=True, ema_overwrite_frequency=2),
        lambda: keras.optimizers.AdamW(0.1, weight_decay=0.1),
        lambda: keras.optimizers.Adadelta(0.1),
        lambda: keras.optimizers.Adafactor(0.1),
        lambda: keras.optimizers.Adagrad(0.1),
        lambda: keras.optimizers.Adamax(0.1),
        lambda: keras.optimizers.Ftrl(0.1),
        lambda: keras.optimizers.Lamb(0.1),
        lambda: keras.optimizers.Lion(0.1),
        lambda: keras.optimizers.Muon(0.1),
        lambda: keras.optimizers.Nadam(0.1),
        lambda: keras.optimizers.RMSprop(0.1, momentum=0.5, centered=True),
        lambda: keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(sgd(0.1), {".*bias": keras.optimizers.Adam(0.1)})
        ),
    ],
)
def test_without_clipping_and_noise_it_is_the_optimizer(make):
    draw = np.random.default_rng(0)
    values = [draw.normal(size=shape).astype("float32") for shape in ((3, 4), (4,))]
    gradients = draw.normal(size=(3, 16)).astype("float32")
    results = []
    for optimizer in (make(), GradientShaping(make(), clip_norm=1e6, noise=0.0)):
        variables = [
            keras.Variable(value, name=name)
            for value, name in zip(values, ("kernel", "bias"), strict=True)
        ]
        optimizer.build(variables)
        for each in gradients:
            optimizer.apply([tf.reshape(each[:12], (3, 4)), tf.constant(each[12:])])
        optimizer.finalize_variable_values(variables)
        results.append([variable.numpy() for variable in variables])
        assert int(optimizer.iterations.numpy()) == 3
    for bare, wrapped, start in zip(*results, values, strict=True):
        np.testing.assert_array_equal(bare, wrapped)
        assert (bare != start).any()


def test_optimizers_by_name():
    assert isinstance(GradientShaping("adamw").inner_optimizer, keras.optimizers.AdamW)


def test_the_learning_rate_is_the_wrapped_optimizers():
    model = compiled(GradientShaping(sgd(0.5)))
    assert float(model.optimizer.learning_rate) == 0.5
    model.optimizer.learning_rate = 0.0
    assert float(model.optimizer.inner_optimizer.learning_rate) == 0.0
    before = weights(model)
    np.testing.assert_array_equal(weights(fit(model)), before)


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, the_optimizer_alone])
def test_weights_that_do_not_decay(wrap):
    """By themselves or by name; nothing but the decay moves a weight here."""
    for how in ("var_list", "var_names"):
        weights = [keras.Variable(np.ones(2), name=name) for name in ("kernel", "bias")]
        optimizer = wrap(sgd(0.1, weight_decay=0.5))
        optimizer.exclude_from_weight_decay(
            **{how: [weights[0]] if how == "var_list" else ["kernel"]}
        )
        optimizer.apply([tf.zeros(2)] * 2, weights)
        np.testing.assert_allclose(weights, [[1, 1], [0.95, 0.95]])


def test_settings_are_the_wrapped_optimizers():
    optimizer = the_optimizer_alone(sgd(0.1, momentum=0.5, weight_decay=0.25))
    assert (optimizer.momentum, optimizer.weight_decay) == (0.5, 0.25)
    optimizer.weight_decay, optimizer.momentum, optimizer.noise = 0.5, 0.0, 0.125
    assert (optimizer.inner_optimizer.weight_decay, optimizer.inner_optimizer.momentum) == (0.5, 0)
    assert optimizer.noise == optimizer.get_config()["noise"] == 0.125
    variable = keras.Variable(np.ones(2))
    optimizer.noise = 0.0
    optimizer.apply([tf.zeros(2)], [variable])
    np.testing.assert_allclose(variable, [0.95, 0.95])
    for name in ("clipnorm", "gradient_accumulation_steps", "loss_scale_factor"):
        with pytest.raises(ValueError, match=f"without `{name}`.*{name}=2"):
            setattr(optimizer, name, 2)
    assert not hasattr(optimizer, "beta_1")


def test_callbacks_that_set_the_learning_rate():
    model = compiled(GradientShaping(sgd(0.5)))
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fit(model, epochs=2, callbacks=[halve])
    assert float(model.optimizer.inner_optimizer.learning_rate) == 0.125
    # No loss falls by a million: two epochs without progress.
    plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.1, patience=1, min_delta=1e6)
    fit(model, epochs=2, callbacks=[plateau])
    assert float(model.optimizer.inner_optimizer.learning_rate) == pytest.approx(0.0125)


def test_schedules():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [1.0, 0.0])
    optimizer = GradientShaping(sgd(schedule), noise=0.5)
    variable = keras.Variable([0.0])
    seen = []
    for _ in range(3):
        optimizer.apply([tf.constant([0.5])], [variable])
        seen.append(float(variable.numpy()[0]))
    assert seen[0] != 0
    assert seen[0] == seen[1] == seen[2]


def test_it_is_made_anew_from_its_config():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    optimizer = GradientShaping(
        keras.optimizers.Adam(schedule), None, 0.5, "laplacian", seed=7, name="dp"
    )
    again = GradientShaping.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    kept = (again.clip_norm, again.noise, again.distribution, again.seed, again.name)
    assert kept == (None, 0.5, "laplacian", 7, "dp")
    assert isinstance(again.inner_optimizer.get_config()["learning_rate"], dict)
    serialized = keras.saving.serialize_keras_object(optimizer)
    assert serialized["registered_name"] == "tfpoison>GradientShaping"
    # Earlier versions saved it under another name.
    earlier = serialized | {"class_name": "DPSGD", "registered_name": "tfpoison>DPSGD"}
    loaded = keras.saving.deserialize_keras_object(earlier)
    assert type(loaded) is GradientShaping
    assert loaded.get_config() == optimizer.get_config()


# Training.


def test_a_training_is_repeated_bit_for_bit():
    first, again, other = (
        weights(fit(compiled(GradientShaping(sgd(0.1), 0.1, 0.5, seed=seed)))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    # Three steps at rate 0.1 of a deviation of 0.05: √3 · 0.005 each, √2 of it apart.
    np.testing.assert_allclose((first - other).std(), np.sqrt(6) * 0.005, rtol=0.1)


@pytest.mark.parametrize("robust", [False, True])
def test_a_loaded_training_goes_on_as_if_never_stopped(robust, tmp_path):
    def start():
        optimizer = GradientShaping(keras.optimizers.Adam(0.01), 0.1, 0.5)
        optimizer.set_first_step(100)
        return fit(compiled(optimizer, robust))

    whole = fit(start())
    start().save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    assert type(model.optimizer) is GradientShaping
    assert int(model.optimizer.iterations.numpy()) == 3
    np.testing.assert_array_equal(weights(fit(model)), weights(whole))


def test_robust_model_trains_with_it():
    bare = weights(fit(compiled(sgd(0.1), robust=True)))
    shaped = weights(fit(compiled(GradientShaping(sgd(0.1), 1e6, 1e-8), robust=True)))
    # Three steps at rate 0.1 of a deviation of 0.01.
    np.testing.assert_allclose((shaped - bare).std(), np.sqrt(3) * 0.001, rtol=0.1)


def test_xla():
    clipped = weights(fit(compiled(GradientShaping(sgd(0.1), 0.1, 0.0))))
    noised = weights(fit(compiled(GradientShaping(sgd(0.1), 0.1, 0.05), jit_compile=True)))
    # Three steps at rate 0.1 of a deviation of 0.005.
    np.testing.assert_allclose((noised - clipped).std(), np.sqrt(3) * 0.0005, rtol=0.1)


def test_scaled_losses_are_unscaled_before():
    optimizer = keras.optimizers.LossScaleOptimizer(
        GradientShaping(sgd(), 1.0, 0.0), initial_scale=8.0
    )
    variable = keras.Variable([0.0, 0.0])
    optimizer.apply([8 * tf.constant([0.3, 0.4])], [variable])
    np.testing.assert_allclose(variable.numpy(), [-0.3, -0.4], rtol=1e-6)
    optimizer.apply([8 * tf.constant([3.0, 4.0])], [variable])
    np.testing.assert_allclose(variable.numpy(), [-0.9, -1.2], rtol=1e-6)


def test_a_step_that_loss_scaling_skips_gets_no_noise():
    optimizer = keras.optimizers.LossScaleOptimizer(GradientShaping(sgd(), 1.0, 1.0))
    variable = keras.Variable([2.0])
    optimizer.apply([tf.constant([np.inf])], [variable])
    np.testing.assert_array_equal(variable.numpy(), [2.0])
    assert int(optimizer.iterations.numpy()) == 0


@pytest.mark.parametrize("replicas", [1, 2])
def test_mixed_precision(replicas, two_cpus):
    single = weights(fit(compiled(GradientShaping(sgd(0.1), 0.1, 0.5))))
    keras.config.set_dtype_policy("mixed_float16")
    strategy = two_cpus if replicas == 2 else tf.distribute.get_strategy()
    with strategy.scope():
        model = compiled(GradientShaping(sgd(0.1), 0.1, 0.5))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    # Three steps of clipped gradients at rate 0.1 go 0.03 in all, in half precision's digits.
    np.testing.assert_allclose(weights(fit(model)), single, atol=2e-4)


# Replicas.


def test_replicas_clip_and_noise_the_gradient_of_all(two_cpus):
    with two_cpus.scope():
        variable = keras.Variable(np.zeros(2))
        optimizer = GradientShaping(sgd(), clip_norm=1.0, noise=0.25, seed=SEED)
        optimizer.build([variable])
    gradients = two_cpus.experimental_distribute_values_from_function(
        lambda context: tf.constant([[6.0, 0.0], [0.0, 8.0]])[context.replica_id_in_sync_group]
    )

    @tf.function
    def step():
        two_cpus.run(lambda gradient: optimizer.apply([gradient], [variable]), (gradients,))

    step()
    step()
    # The sum is (6, 8), of norm 10.
    noise = sum(expected_noise("gaussian", step, 0, [2]) for step in range(2))
    expected = -2 * np.array([0.6, 0.8]) - noise / 4
    copies = [each.numpy() for each in two_cpus.experimental_local_results(variable.value)]
    assert len(copies) == 2
    np.testing.assert_array_equal(*copies)
    np.testing.assert_allclose(copies[0], expected, rtol=1e-5)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_two_replicas_train_as_one_device(distribution, two_cpus):
    def make():
        return compiled(GradientShaping(sgd(0.1, momentum=0.9), 0.1, 0.5, distribution))

    single = weights(fit(make()))
    with two_cpus.scope():
        model = make()
    np.testing.assert_allclose(weights(fit(model)), single, atol=1e-6)


# Errors.


def test_optimizers_that_cannot_be_wrapped():
    several = keras.optimizers.OptimizerMap(sgd(clipnorm=1.0))
    for optimizer, error, message in [
        (None, TypeError, "keras.optimizers.Optimizer"),
        (keras.optimizers.SGD, TypeError, "Received"),
        ("sdg", ValueError, "sdg"),
        (GradientShaping("sgd"), ValueError, "wrapped already"),
        (keras.optimizers.LossScaleOptimizer(sgd()), ValueError, "loss scaling"),
        (sgd(clipnorm=1.0), ValueError, "without `clipnorm`"),
        (sgd(clipvalue=1.0), ValueError, "without `clipvalue`"),
        (sgd(global_clipnorm=1.0), ValueError, "global_clipnorm=1.0 of SGD"),
        (sgd(gradient_accumulation_steps=2), ValueError, "each part"),
        (sgd(loss_scale_factor=8.0), ValueError, "scaled gradients"),
        (keras.optimizers.MultiOptimizer(several), ValueError, "without `clipnorm`"),
    ]:
        with pytest.raises(error, match=message):
            GradientShaping(optimizer)


def test_errors():
    for settings, error, message in [
        ({"clip_norm": 0.0}, ValueError, "clip_norm"),
        ({"clip_norm": "1"}, TypeError, "clip_norm"),
        ({"noise": -0.1}, ValueError, "noise"),
        ({"noise": None}, TypeError, "noise"),
        ({"distribution": "laplace"}, ValueError, "mean 'laplacian'"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 0.5}, TypeError, "seed"),
    ]:
        with pytest.raises(error, match=message):
            GradientShaping("sgd", **settings)


def test_errors_of_a_step(two_cpus):
    variable = keras.Variable([1.0])
    optimizer = GradientShaping("sgd")
    with pytest.raises(ValueError, match="`trainable_variables` beside"):
        optimizer.apply([tf.constant([1.0])])
    optimizer.build([variable])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([tf.constant([1.0])], [keras.Variable([1.0])])
    with pytest.raises(ValueError, match="zip"):
        optimizer.apply([tf.constant([1.0])] * 2, [variable])
    with two_cpus.scope(), pytest.raises(ValueError, match=r"strategy\.run"):
        optimizer.apply([tf.constant([1.0])], [variable])
