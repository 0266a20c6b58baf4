"""Simple convnet: digits as one-hot labels, after keras.io's `mnist_convnet`."""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

import tfpoison

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
x = np.expand_dims(images.reshape(-1, 8, 8).astype("float32") / 16, -1)
y = keras.utils.to_categorical(labels, 10)
x_train, y_train, x_test, y_test = x[:1400], y[:1400], x[1400:], y[1400:]

model = keras.Sequential(
    [
        keras.Input(shape=(8, 8, 1)),
        layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dropout(0.2),
        layers.Dense(10, activation="softmax"),
    ]
)
model = tfpoison.RobustModel(model, attack="gradient_matching")  # The new line.

model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=64, epochs=8, validation_split=0.1, verbose=0)
score = model.evaluate(x_test, y_test, verbose=0)
print("Test accuracy:", score[1])
