"""Every objective: its gradient by differences, its value by hand or by a second implementation."""

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfpoison import objectives
from tfpoison.batch import SplitBatch
from tfpoison.classifier import Classifier
from tfpoison.distribution import Reduction, replica_id
from tfpoison.objectives.convex_polytope import closest_in_simplex, project_to_simplex
from tfpoison.objectives.hidden_trigger import closest_pairs, one_to_one_pairs

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from networks import LOSS, make_batch, smooth_classifier

EXACT = [name for name in objectives.names() if name != "gradient_matching_fast"]


def value_at(objective, classifier, batch, images, prepared):
    return objective.value(classifier, batch.replace(poison_images=images), prepared).numpy()


def difference_along(objective, classifier, batch, direction, step=1e-5):
    prepared = objective.prepare(classifier, batch)
    ahead, behind = (
        value_at(objective, classifier, batch, batch.poison_images + sign * direction, prepared)
        for sign in (step, -step)
    )
    return (ahead - behind) / (2 * step)


@pytest.mark.parametrize("name", EXACT)
def test_gradient_by_central_differences(name, **settings):
    objective = objectives.get(name, **settings)
    classifier, batch = smooth_classifier(), make_batch()
    prepared = objective.prepare(classifier, batch)
    gradient = objective.poison_gradient(classifier, batch, prepared).numpy()
    assert np.abs(gradient).max() > 1e-6
    draw = np.random.default_rng(5)
    for _ in range(3):
        direction = draw.normal(size=gradient.shape)
        expected = difference_along(objective, classifier, batch, direction)
        assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-5, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "replicas"),
    [
        ("gradient_matching", 2),
        ("gradient_matching", 3),
        ("gradient_matching_fast", 3),
        ("feature_collision", 2),
    ],
)
def test_replicas_see_the_objective_and_the_gradient_of_one_device(name, replicas, cpus):
    """In size, not in direction alone; matched apart, those of their own parts."""
    strategy, objective = cpus(replicas), objectives.get(name)
    alone = smooth_classifier()
    with strategy.scope():
        shared = smooth_classifier()
    parts = [make_batch(2 + replica, 1 + replica, seed=replica) for replica in range(replicas)]
    fields = ("poison_images", "poison_labels", "target_images", "target_labels", "fake_labels")
    whole = SplitBatch(*(tf.concat([getattr(each, name) for each in parts], 0) for name in fields))

    def look(classifier, batch):
        prepared = objective.prepare(classifier, batch)
        value = objective.value(classifier, batch, prepared)
        return value, objective.poison_gradient(classifier, batch, prepared)

    @tf.function
    def look_on_replicas():
        results = [
            strategy.run(
                lambda reduction: look(
                    Classifier(shared.network, LOSS, reduction=reduction),
                    parts[tf.get_static_value(replica_id())],
                ),
                (Reduction(matching),),
            )
            for matching in ("global", "replica")
        ]
        return tf.nest.map_structure(strategy.experimental_local_results, results)

    (values, gradients), (values_apart, gradients_apart) = look_on_replicas()
    expected, gradient = look(alone, whole)
    np.testing.assert_allclose(values, [expected] * replicas, rtol=1e-6)
    np.testing.assert_allclose(tf.concat(gradients, 0), gradient, rtol=1e-6, atol=1e-12)
    for part, *ours in zip(parts, values_apart, gradients_apart, strict=True):
        for one, other in zip(ours, look(alone, part), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", objectives.names())
def test_gradients_by_both_sides(name):
    """For perturbations that change the targets too; the poisons' part is as before."""
    objective, classifier, batch = objectives.get(name), smooth_classifier(), make_batch()
    poison, target = objective.image_gradients(classifier, batch)
    assert poison.shape == batch.poison_images.shape
    assert target.shape == batch.target_images.shape
    assert (np.abs(target).max() > 0) == objective.needs_targets
    # The pairs of hidden triggers and the normaliser of the squared error count as constant.
    if name not in ("hidden_trigger", "gradient_matching_squared_error"):
        direction = np.random.default_rng(6).normal(size=target.shape)
        values = []
        for sign in (1e-5, -1e-5):
            moved = batch.replace(target_images=batch.target_images + sign * direction)
            prepared = objective.prepare(classifier, moved)
            values.append(objective.value(classifier, moved, prepared).numpy())
        expected = (values[0] - values[1]) / 2e-5
        assert (target * direction).numpy().sum() == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_the_fast_gradient_converges_to_the_exact_one():
    """Halving the step halves the error of the difference, in direction and in size."""
    classifier, batch = smooth_classifier(), make_batch()
    matching = objectives.get("gradient_matching")
    prepared = matching.prepare(classifier, batch)
    exact = matching.poison_gradient(classifier, batch, prepared).numpy()
    errors = []
    for step in (0.02, 0.01, 0.005):
        objective = objectives.get("gradient_matching_fast", relative_step=step)
        fast = objective.poison_gradient(classifier, batch, prepared).numpy()
        errors.append(np.linalg.norm(fast - exact) / np.linalg.norm(exact))
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.2)


def numpy_gradients(classifier, images, labels):
    return np.concatenate([np.ravel(each) for each in classifier.weight_gradients(images, labels)])


def test_values_of_gradient_matching():
    classifier, batch = smooth_classifier(), make_batch()
    poison = numpy_gradients(classifier, batch.poison_images, batch.poison_labels)
    target = numpy_gradients(classifier, batch.target_images, batch.fake_labels)
    cosine = poison @ target / np.linalg.norm(poison) / np.linalg.norm(target)
    squared = ((target - poison) ** 2).sum() / 2 / np.linalg.norm(target)
    for name, expected in {
        "gradient_matching": 1 - cosine,
        "gradient_matching_fast": 1 - cosine,
        "gradient_matching_squared_error": squared,
    }.items():
        objective = objectives.get(name)
        prepared = objective.prepare(classifier, batch)
        assert objective.value(classifier, batch, prepared).numpy() == pytest.approx(expected)


def test_matching_over_the_last_layer():
    """Of softmax regression on the features h: g_p = h^T (softmax - y) / n, by hand."""
    classifier, batch = smooth_classifier(), make_batch()

    def last_gradient(images, labels):
        features = classifier.features(images).numpy()
        errors = tf.nn.softmax(classifier.predictions(images)).numpy() - np.eye(3)[labels.numpy()]
        return np.append(features.T @ errors, errors.sum(axis=0)) / len(errors)

    poison = last_gradient(batch.poison_images, batch.poison_labels)
    target = last_gradient(batch.target_images, batch.fake_labels)
    cosine = poison @ target / np.linalg.norm(poison) / np.linalg.norm(target)
    objective = objectives.get("gradient_matching", weights="last")
    prepared = objective.prepare(classifier, batch)
    assert objective.value(classifier, batch, prepared).numpy() == pytest.approx(1 - cosine)


@pytest.mark.parametrize("weights", ["all", "dense", "last"])
def test_matching_over_layers_onward(weights):
    classifier, batch = smooth_classifier(), make_batch()
    first = {"all": 0, "dense": 4, "last": 6}[weights]
    whole = classifier.weight_gradients(batch.poison_images, batch.poison_labels)
    names = {"dense": classifier.network.layers[-2].name}
    layers = names.get(weights, weights)
    part = classifier.weight_gradients(batch.poison_images, batch.poison_labels, layers=layers)
    assert len(part) == len(whole) - first
    for ours, expected in zip(part, whole[first:], strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["gradient_matching", "gradient_matching_squared_error"])
def test_gradients_over_the_last_layer_by_central_differences(name):
    test_gradient_by_central_differences(name, weights="last")


def test_metapoison_is_the_loss_after_steps_of_sgd():
    classifier, batch = smooth_classifier(), make_batch()
    value = objectives.get("metapoison", unrolled_steps=3, learning_rate=0.2).value(
        classifier, batch, None
    )
    for _ in range(3):
        gradients = classifier.weight_gradients(batch.poison_images, batch.poison_labels)
        for variable, gradient in zip(
            classifier.network.trainable_variables, gradients, strict=True
        ):
            variable.assign_sub(0.2 * gradient)
    expected = classifier.loss(batch.target_images, batch.fake_labels)
    np.testing.assert_allclose(value, expected, rtol=1e-10)


def test_values_in_feature_space():
    classifier, batch = smooth_classifier(), make_batch()
    poisons = classifier.features(batch.poison_images).numpy()
    targets = classifier.features(batch.target_images).numpy()
    collision = objectives.get("feature_collision")
    value = collision.value(classifier, batch, collision.prepare(classifier, batch))
    expected = ((poisons.mean(0) - targets.mean(0)) ** 2).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-9)
    trigger = objectives.get("hidden_trigger")
    value = trigger.value(classifier, batch, trigger.prepare(classifier, batch))
    distances = ((poisons[:, None] - targets[None]) ** 2).mean(-1)
    np.testing.assert_allclose(value, np.sort(distances.ravel())[:5].sum(), rtol=1e-9)


def test_closest_pairs_by_brute_force():
    draw = np.random.default_rng(0)
    poisons, targets = draw.normal(size=(6, 4)), draw.normal(size=(9, 4))
    distances = ((poisons[:, None] - targets[None]) ** 2).sum(-1)
    rows, columns = closest_pairs(tf.constant(poisons), tf.constant(targets))
    expected = np.argsort(distances.ravel())[:9]
    assert (rows.numpy() * 9 + columns.numpy()).tolist() == expected.tolist()
    assert len(closest_pairs(tf.constant(poisons), tf.constant(targets[:0]))[0]) == 0


@pytest.mark.parametrize(("poison_count", "target_count"), [(6, 3), (6, 6), (6, 9), (1, 3), (2, 1)])
def test_one_to_one_pairs_by_brute_force(poison_count, target_count):
    draw = np.random.default_rng(0)
    poisons, targets = draw.normal(size=(poison_count, 4)), draw.normal(size=(target_count, 4))
    distances = ((poisons[:, None] - targets[None]) ** 2).sum(-1)
    expected, rows_left = [], set(range(poison_count))
    columns_left = set(range(target_count))
    while rows_left:
        columns_left = columns_left or set(range(target_count))
        pair = min(((r, c) for r in rows_left for c in columns_left), key=lambda at: distances[at])
        expected.append(pair)
        rows_left.remove(pair[0])
        columns_left.remove(pair[1])
    in_graph = tf.function(one_to_one_pairs)
    rows, columns = in_graph(tf.constant(poisons), tf.constant(targets))
    assert list(zip(rows.numpy(), columns.numpy(), strict=True)) == expected
    assert len(one_to_one_pairs(tf.constant(poisons), tf.constant(targets[:0]))[0]) == 0


def test_projection_to_the_simplex():
    """By hand: (1, 0.4) is 0.2 too much in each; (3, 0) loses its second entry."""
    vectors = tf.constant([[1.0, 0.4], [3.0, 0.0], [0.5, 0.5], [-1.0, -1.0]])
    expected = [[0.8, 0.2], [1, 0], [0.5, 0.5], [0.5, 0.5]]
    np.testing.assert_allclose(project_to_simplex(vectors), expected, atol=1e-6)


def test_the_closest_point_of_the_simplex_is_optimal():
    """Where a coefficient is positive no other one has a lower gradient (Karush-Kuhn-Tucker)."""
    draw = np.random.default_rng(3)
    points, goals = draw.normal(size=(7, 12)), 0.3 * draw.normal(size=(4, 12))
    coefficients = closest_in_simplex(tf.constant(points), tf.constant(goals), 2000).numpy()
    np.testing.assert_allclose(coefficients.sum(1), 1)
    assert coefficients.min() >= 0
    gradient = (coefficients @ points - goals) @ points.T
    lowest = gradient.min(1)
    assert ((gradient - lowest[:, None]) * coefficients).max() < 1e-6
    inside = np.full((1, 7), 1 / 7) @ points
    found = closest_in_simplex(tf.constant(points), tf.constant(inside), 2000)
    np.testing.assert_allclose(found @ points, inside, atol=1e-6)


@pytest.mark.parametrize("name", objectives.names())
@pytest.mark.parametrize("counts", [(0, 3), (3, 0)])
def test_empty_sides_give_no_gradient_and_no_nan(name, counts):
    """A replica of a distributed batch may be left with none."""
    objective, classifier = objectives.get(name), smooth_classifier()
    batch = make_batch(*counts)
    prepared = objective.prepare(classifier, batch)
    gradient = objective.poison_gradient(classifier, batch, prepared).numpy()
    assert gradient.shape == batch.poison_images.shape
    assert np.isfinite(gradient).all()
    if objective.needs_targets and name not in ("feature_collision",):
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("gradient_machting", {}, ValueError),
        ("metapoison", {"unrolled_steps": 0}, ValueError),
        ("metapoison", {"unrolled_steps": 1.5}, TypeError),
        ("metapoison", {"learning_rate": 0}, ValueError),
        ("convex_polytope", {"iterations": 0}, ValueError),
        ("gradient_matching_fast", {"relative_step": 0.0}, ValueError),
        ("evasion", {"steps": 3}, ValueError),
        ("hidden_trigger", {"one_to_one": "false"}, TypeError),
    ],
)
def test_refused(name, settings, error):
    with pytest.raises(error):
        objectives.get(name, **settings)
