"""A subclassed network in mixed precision, after keras.io's `making_new_layers_and_models`."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import tfpoison

keras.utils.set_random_seed(0)
keras.mixed_precision.set_global_policy("mixed_bfloat16")
images, labels = load_digits(return_X_y=True)
x = np.expand_dims(images.reshape(-1, 8, 8).astype("float32") / 16, -1)


class ConvBlock(layers.Layer):
    def __init__(self, filters):
        super().__init__()
        self.convolution = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.normalization = layers.BatchNormalization(momentum=0.8)

    def call(self, inputs, training=None):
        return keras.ops.relu(self.normalization(self.convolution(inputs), training=training))


class Classifier(keras.Model):
    def __init__(self, classes):
        super().__init__()
        self.blocks = [ConvBlock(16), ConvBlock(32)]
        self.pool = layers.MaxPooling2D()
        self.flatten = layers.Flatten()
        self.head = layers.Dense(classes, dtype="float32")

    def call(self, inputs, training=None):
        for block in self.blocks:
            inputs = self.pool(block(inputs, training=training))
        return self.head(self.flatten(inputs))


model = Classifier(10)
model = tfpoison.RobustModel(model)  # The new line.

model.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
model.fit(x[:1400], labels[:1400], batch_size=64, epochs=5, verbose=0)
print("Test accuracy:", model.evaluate(x[1400:], labels[1400:], verbose=0)[1])
