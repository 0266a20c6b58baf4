"""What networks answer: against Keras's own predictions, and figures worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpoison import evaluation
from tfpoison.evaluation import Predictor


@pytest.fixture
def network():
    return keras.Sequential(
        [
            keras.layers.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(5, activation="relu"),
            keras.layers.Dense(3),
        ]
    )


IMAGES = np.random.default_rng(0).integers(0, 256, (700, 4, 4, 1), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 3, 700)


def test_probabilities(network):
    expected = keras.ops.softmax(network.predict(IMAGES / 255.0, verbose=0))
    np.testing.assert_allclose(Predictor(network).probabilities(IMAGES), expected, atol=1e-5)


def test_features(network):
    expected = keras.Model(network.inputs, network.layers[-2].output).predict(
        IMAGES / 255.0, verbose=0
    )
    np.testing.assert_allclose(Predictor(network).features(IMAGES), expected, atol=1e-5)


def test_other_weights_need_no_other_predictor(network):
    predictor = Predictor(network)
    before = predictor.probabilities(IMAGES)
    network.set_weights([each + 0.5 for each in network.get_weights()])
    assert (predictor.probabilities(IMAGES) != before).any()


def test_margins(network):
    """The log odds of the label, also where a probability rounds to 1."""
    predictor = Predictor(network)
    probabilities = predictor.probabilities(IMAGES)[np.arange(len(LABELS)), LABELS]
    expected = np.log(probabilities) - np.log1p(-probabilities)
    np.testing.assert_allclose(predictor.margins(IMAGES, LABELS), expected, atol=1e-4)
    network.layers[-1].bias.assign(1e3 * tf.one_hot(LABELS[0], network.output_shape[-1]))
    assert 900 < predictor.margins(IMAGES[:1], LABELS[:1])[0] < 1100


def test_gradient_norms(network):
    norms = Predictor(network).gradient_norms(IMAGES[:20], LABELS[:20])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for number in range(20):
        with tf.GradientTape() as tape:
            logits = network(IMAGES[number : number + 1] / np.float32(255))
            value = loss(LABELS[number : number + 1], logits)
        parts = tape.gradient(value, network.layers[-1].trainable_variables)
        expected = np.sqrt(sum(float(tf.reduce_sum(part**2)) for part in parts))
        np.testing.assert_allclose(norms[number], expected, rtol=1e-4)


def test_measures():
    clean = np.eye(3)[[0, 0, 1, 2, 2]]
    labels = np.array([0, 1, 1, 2, 0])
    targets = np.array([[0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    measures = evaluation.measure(
        clean,
        labels,
        targets,
        target_labels=np.array([0, 0]),
        adversarial_class=1,
        poison_classes=np.array([1, 1, 2]),
    )
    # Right: the first, the third and the fourth. Of class 0 one of two, of classes 1 and 2 two of
    # three. One target of two is called 1.
    expected = {
        "success": 0.5,
        "robust_accuracy": 0.5,
        "clean_accuracy": 0.6,
        "target_class_accuracy": 0.5,
        "poison_class_accuracy": 2 / 3,
        "target_confidence": 0.5,
        "true_confidence": 0.4,
    }
    assert measures == pytest.approx(expected)
    of_all = {"target_labels": np.array([0, 2]), "adversarial_class": 1}
    measures = evaluation.measure(clean, labels, targets, poison_classes=labels, **of_all)
    assert (measures["success"], measures["robust_accuracy"]) == (0.5, 0)
    assert measures["target_class_accuracy"] == pytest.approx(2 / 3)
    assert measures["true_confidence"] == pytest.approx((0.2 + 0.1) / 2)


def test_no_answer_is_no_class():
    answers = np.array([[np.nan, np.nan], [0.1, np.nan], [0.9, 0.1], [np.inf, 0.0]])
    assert evaluation.most_probable(answers).tolist() == [-1, -1, 0, 0]
    assert evaluation.poison_success(answers[:3], 0) == pytest.approx(1 / 3)
    assert evaluation.accuracy(answers[:3], np.zeros(3, int)) == pytest.approx(1 / 3)


def test_no_examples_have_no_accuracy():
    assert np.isnan(evaluation.accuracy(np.zeros((0, 3)), np.zeros(0)))
