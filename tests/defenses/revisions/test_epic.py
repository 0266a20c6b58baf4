"""EPIC against a case worked by hand and a plain second implementation."""

import gc
import weakref

import keras
import numpy as np
import pytest

from tfpoison.defenses.revisions.epic import Epic, choose_medoids, isolated, similarity

# Similarities 10 - distance of four points on a line: 0, 1, 2 and 10.
POINTS = np.array([0, 1, 2, 10])
LINE = (10 - np.abs(POINTS[:, None] - POINTS)).astype("float32")


def greedy(similarities, count):
    """Greedy facility location that computes every gain anew; the first of equal gains wins."""
    chosen = []
    for _ in range(count):
        totals = [
            similarities[:, [*chosen, each]].max(axis=1).sum(dtype="float64")
            if each not in chosen
            else -np.inf
            for each in range(len(similarities))
        ]
        chosen.append(int(np.argmax(totals)))
    return chosen


def random_gradients(seed, size, classes=4):
    draw = np.random.default_rng(seed)
    probabilities = draw.dirichlet(np.full(classes, 0.3), size).astype("float32")
    return probabilities - np.eye(classes, dtype="float32")[0]


def make_network():
    """Two pixels of an image are its logits, 8 times the pixel."""
    network = keras.Sequential([keras.Input((1, 1, 2)), keras.layers.Flatten()])
    network.add(keras.layers.Dense(2, use_bias=False))
    network.layers[-1].set_weights([8 * np.eye(2, dtype="float32")])
    return network


def make_images(logits):
    return np.round(np.array(logits) / 8 * 255).astype("uint8").reshape(-1, 1, 1, 2)


def test_medoids_by_hand():
    # Sums of the rows: 27, 29, 29, 13: the second point, first of two. It leaves gains of
    # 1 (the first point for itself), 2 (the third for itself and the last) and 9 (the last).
    # Then the first and the third gain 1 each.
    assert choose_medoids(LINE, 1).tolist() == [1]
    assert choose_medoids(LINE, 2).tolist() == [1, 3]
    assert choose_medoids(LINE, 4).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("seed", range(5))
def test_medoids_against_plain_greedy(seed):
    similarities = similarity(random_gradients(seed, 40))
    assert choose_medoids(similarities, 12).tolist() == greedy(similarities, 12)


def test_medoids_that_gain_nothing_are_not_chosen():
    assert choose_medoids(np.ones((3, 3), "float32"), 2).tolist() == [0]


def test_similarity():
    # A distance of 5 between points of the plane.
    expected = [[1, np.exp(-2.5)], [np.exp(-2.5), 1]]
    np.testing.assert_allclose(similarity(np.array([[0.0, 0.0], [3.0, 4.0]])), expected, rtol=1e-6)


def test_isolated_by_hand():
    # Nine examples close together and one far away. One medoid has all ten in its cluster; of two,
    # the far one stands alone; the third divides the nine into clusters of more than one.
    near = 0.01 * np.array([[i, j] for i in (0, 1, 5) for j in (0, 1, 2)])
    gradients = np.concatenate([near, [[1.0, 1.0]]])
    assert not isolated(gradients, 0.1).any()
    for share in (0.2, 0.3):
        assert np.flatnonzero(isolated(gradients, share)).tolist() == [9]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("share", "count"), [(0.1, 3), (0.2, 6), (0.35, 11)])
def test_isolated_against_plain_loops(seed, share, count):
    gradients = random_gradients(seed, 30)
    similarities = np.exp(-np.linalg.norm(gradients[:, None] - gradients, axis=2) / 4)
    medoids = greedy(similarities, count)
    nearest = [max(medoids, key=lambda medoid: row[medoid]) for row in similarities]
    expected = [nearest.count(medoid) == 1 for medoid in nearest]
    assert isolated(gradients, share).tolist() == expected


def test_the_comparison_above_has_isolated_examples():
    assert any(isolated(random_gradients(seed, 30), 0.35).any() for seed in range(5))


def test_equal_gradients_are_not_isolated():
    # All medoids but the first have an empty cluster: their equals were first.
    assert not isolated(np.ones((10, 3)), 0.5).any()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_no_class_is_dropped_whole(size):
    dropped = isolated(random_gradients(0, size), 1.0)
    assert not dropped.all()
    assert dropped.sum() == max(0, size - 2)


def test_revise_drops_what_is_isolated_in_its_class():
    # Of each class ten examples, their logits close together, but for one of class 0 that is sure
    # to be of class 1, and one of class 1 that is unsure.
    sure = [[4.0 + 0.03 * number, 0.0] for number in range(9)]
    images = make_images([*sure, [0.0, 4.0], *np.flip(sure, axis=1), [2.0, 2.0]])
    labels = np.repeat([0, 1], 10)
    network = make_network()
    weights = network.get_weights()
    revised = Epic(share=0.2).revise(network, images, labels, seed=0)
    assert np.flatnonzero(~revised.kept).tolist() == [9, 19]
    np.testing.assert_array_equal(revised.images, images)
    np.testing.assert_array_equal(network.get_weights(), weights)
    # One medoid in each class has the whole class for its cluster.
    assert Epic(share=0.1).revise(network, images, labels, seed=0).kept.all()


def test_a_network_is_traced_for_the_first_revision_alone_and_let_go():
    images, labels = make_images([[4.0, 0.0], [0.0, 4.0]]), np.zeros(2, "int64")
    network = make_network()
    traced = []
    network.layers[-1].activation = lambda outputs: traced.append(1) or outputs
    Epic().revise(network, images, labels, seed=0)
    # Twice of them to look whether the network is a pure function: see tfpoison/purity.py.
    assert len(traced) == 3
    Epic().revise(network, images, labels, seed=0)
    assert len(traced) == 3
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_revise_looks_at_the_weights_as_they_are():
    images = make_images([[4.0, 0.0]] * 9 + [[0.0, 4.0]])
    labels = np.zeros(10, "int64")
    network = make_network()
    assert not Epic(share=0.2).revise(network, images, labels, seed=0).kept.all()
    network.set_weights([np.zeros((2, 2))])
    assert Epic(share=0.2).revise(network, images, labels, seed=0).kept.all()


def test_epochs():
    # The authors' recipes: for 40 epochs, and for 200.
    assert Epic().epochs(40) == tuple(range(10, 35, 2))
    long = Epic(first_epoch=30, last_epoch=150, interval=10)
    assert long.epochs(200) == tuple(range(30, 151, 10))
    assert Epic(first_epoch=5, interval=5).epochs(40) == (5, 10, 15, 20, 25, 30, 35)
    assert Epic().epochs(2) == (1,)
    # What lies behind the end of the training is left out.
    assert long.epochs(45) == (30, 40)


@pytest.mark.parametrize(("epic", "total"), [(Epic(), 1), (Epic(first_epoch=10), 10)])
def test_trainings_that_are_too_short(epic, total):
    with pytest.raises(ValueError, match=r"Received: \d+ epochs"):
        epic.epochs(total)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"share": 0.0}, ValueError),
        ({"share": 1.1}, ValueError),
        ({"interval": 0}, ValueError),
        ({"first_epoch": 1.5}, TypeError),
        ({"first_epoch": 0}, ValueError),
        ({"first_epoch": 5, "last_epoch": 4}, ValueError),
    ],
)
def test_settings_that_cannot_be(settings, error):
    with pytest.raises(error, match=f"`{list(settings)[-1]}`"):
        Epic(**settings)
