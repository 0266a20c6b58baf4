"""Whether revisions can look at a network: found out before it is trained."""

import keras
import numpy as np
import tensorflow as tf

from tfpoison.batch import check_labels
from tfpoison.classifier import Classifier


def check_network(network: keras.Model) -> None:
    """Raises unless `network` is a model with logits for outputs, as far as its graph tells.

    Raises:
        TypeError: it is no Keras model.
        ValueError: it has no graph, ends in a softmax or sigmoid, or has weights that are not
            finite.
    """
    if not isinstance(network, keras.Model):
        raise TypeError(f"Expected `network` to be a keras.Model. Received: {network!r}")
    if not network.built or not getattr(network, "outputs", None):
        raise ValueError(
            "Expected `network` to be a built Functional or Sequential model. Received: "
            f"{network!r}. Wrap it: keras.Model(inputs, network(inputs))"
        )
    last: keras.Layer = network
    while isinstance(last, keras.Model) and last.layers:
        last = last.layers[-1]
    activation = getattr(last, "activation", None)
    bounded = (keras.activations.softmax, keras.activations.sigmoid)
    if isinstance(last, keras.layers.Softmax) or activation in bounded:
        raise ValueError(
            "Expected `network` to return logits. Received: a network that ends in a softmax or "
            f"sigmoid, layer {last.name!r}. Leave it to the loss: from_logits=True"
        )
    if not all(np.isfinite(each).all() for each in network.get_weights()):
        raise ValueError(
            "Expected `network` to have finite weights. Received: NaN or infinity. The training "
            "has diverged: lower its learning rate, or clip its gradients."
        )


def check_answers(network: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    """Raises ValueError unless `network` answers any number of images with logits of all classes.

    Images are a few of the examples, uint8 in 0–255, (n, H, W, C), of which the network is asked
    about floats in [0, 1]; labels those of all examples, integers.
    """
    shape = network.input_shape
    if isinstance(shape, tuple) and shape and isinstance(shape[0], int):
        raise ValueError(
            "Expected `network` to take any number of images: a revision looks at all of them. "
            f"Received: a network for batches of {shape[0]}. Give its Input a shape alone, without "
            "a batch size."
        )
    try:
        answers = Classifier(network).predictions(tf.constant(images / np.float32(255))).numpy()
    except Exception as error:  # Whatever the layers of a network raise.
        raise ValueError(
            f"Expected `network` to answer float32 images in [0, 1] of shape {images.shape}. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
    if answers.shape[1] < 2:
        raise ValueError(
            "Expected `network` to return the logits of each image, (n, classes), of two classes "
            "or more. Received: one output"
        )
    if (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=0.01):
        raise ValueError(
            "Expected `network` to return logits. Received: answers that sum to one, as "
            "probabilities do. Leave the softmax to the loss: from_logits=True"
        )
    check_labels(labels, answers.shape[1])
