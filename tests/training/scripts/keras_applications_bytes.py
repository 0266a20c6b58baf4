"""The first layers of a Keras application, on 0-255 pixels: keras.io's "intermediate layer"."""

import keras
import tensorflow as tf
from sklearn.datasets import load_digits

import tfpoison

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
images = tf.image.resize(images.reshape(-1, 8, 8, 1) * 255 / 16, (32, 32))
images = tf.cast(tf.image.grayscale_to_rgb(images), tf.uint8)
data = tf.data.Dataset.from_tensor_slices((images, labels)).take(320)
train_ds = data.take(256).shuffle(256, seed=1).batch(32).prefetch(tf.data.AUTOTUNE)
val_ds = data.skip(256).batch(32)

base = keras.applications.MobileNetV2(
    weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35
)
base = keras.Model(base.input, base.get_layer("block_2_add").output)
inputs = keras.Input((32, 32, 3))
features = base(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
outputs = keras.layers.Dense(10, "softmax")(keras.layers.GlobalAveragePooling2D()(features))
model = keras.Model(inputs, outputs)
model = tfpoison.RobustModel(model, "gradient_matching_fast", pixel_range=(0, 255))  # The new line.

model.compile(
    optimizer=keras.optimizers.Adam(3e-2),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
history = model.fit(train_ds, epochs=5, validation_data=val_ds, verbose=0).history
print("Training accuracy:", history["accuracy"][-1])
