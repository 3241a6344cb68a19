"""Runs in a Python of its own, which has TensorFlow: makes a Keras model, exports it with tf2onnx, and says what its maps should be.

    keras_worker.py make   MODEL SIDE SEED FILE.onnx FOLDER
    keras_worker.py answer MODEL SIDE SEED FOLDER      (reads values.npz, writes answer.npz)
"""

import os
import sys

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from layouts import equal_up_to_layout  # noqa: E402

RELU, RELU6 = tf.nn.relu, tf.nn.relu6


def guided(bound):
    """A rectifier whose signal is `g·φ′(x)·[g>0]`."""

    def f(x, name=None):
        @tf.custom_gradient
        def rule(x):
            y = RELU(x) if bound is None else RELU6(x)
            on = x > 0 if bound is None else (x > 0) & (x < bound)
            return y, lambda g: tf.where(on & (g > 0), g, tf.zeros_like(g))

        return rule(x)

    return f


def build(name, side, activation):
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=(side, side, 3), classifier_activation=activation)


def weights(name, side, seed):
    """Seeded weights and batch-norm statistics."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    drawn = []
    for w in build(name, side, None).weights:
        value = np.array(w)
        if value.size and value.max() == value.min():
            if w.name == "moving_mean":
                value = value + rng.normal(0, 0.3, value.shape)
            elif w.name == "moving_variance":
                value = rng.uniform(0.5, 1.5, value.shape)
            elif 0 < abs(value.flat[0]) < 1e-2:
                value = rng.normal(0.5, 0.2, value.shape)  # a layer scale
            else:
                value = value + rng.normal(0, 0.1, value.shape)
        drawn.append(value.astype(np.float32))
    return drawn


def image(side, seed):
    rng = np.random.default_rng(1000 + seed)
    coarse = rng.normal(size=(1, max(2, side // 8), max(2, side // 8), 3))
    smooth = tf.image.resize(coarse, (side, side)).numpy()
    return (smooth + 0.5 * rng.normal(size=smooth.shape)).astype(np.float32)


def network(name, side, seed, dtype, drawn):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)  # what layers compute in; it keeps the type of the first one made
    net = build(name, side, None)
    net.set_weights([w.astype(dtype) for w in drawn])
    layers = [layer for layer in net.layers if not isinstance(layer, keras.layers.InputLayer)]
    return keras.Model(net.input, [layer.output for layer in layers] + [net.output]), [layer.name for layer in layers]


def signals(net, x, target, chosen):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        *outputs, scores = net(x, training=False)
        score = scores[0, target]
    image, *at = tape.gradient(score, [x, *[outputs[i] for i in chosen]])
    return image.numpy(), [(outputs[i].numpy(), g.numpy()) for i, g in zip(chosen, at, strict=True)]


def make(name, side, seed, path, folder):
    import tf2onnx

    drawn = weights(name, side, seed)
    net = build(name, side, "softmax")
    net.set_weights(drawn)
    for layer in net.layers:
        if isinstance(layer, keras.layers.Normalization):  # tensors that a function captures become inputs of the file
            layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    x = image(side, seed)
    scores = net(x, training=False).numpy()
    f = tf.function(lambda x: net(x, training=False))
    signature = [tf.TensorSpec((None, side, side, 3), tf.float32, name="image")]
    tf2onnx.convert.from_function(f, input_signature=signature, opset=17, output_path=path)
    np.savez(f"{folder}/made.npz", x=x, target=scores[0].argmax())


def answer(name, side, seed, folder):
    made, values = np.load(f"{folder}/made.npz"), np.load(f"{folder}/values.npz")
    x, target = made["x"], int(made["target"])
    drawn = weights(name, side, seed)
    net, names = network(name, side, seed, "float32", drawn)
    outputs = [o.numpy() for o in net(x, training=False)[:-1]]
    said, chosen = {}, []
    for key in values.files:
        value = values[key]
        layouts = ((i, equal_up_to_layout(o, value)) for i, o in enumerate(outputs) if o.size == value.size)
        found = next(((i, layout) for i, layout in layouts if layout), None)
        chosen.append(found and found[0])
        if found:
            said[f"place.{key}"] = names[found[0]]
            said[f"perm.{key}"] = found[1][0] or ()
    live = [i for i in chosen if i is not None]
    for dtype in ("float32", "float64"):
        net, _ = network(name, side, seed, dtype, drawn)
        for method, rules in {"gradient": (RELU, RELU6), "guided-backprop": (guided(None), guided(6))}.items():
            tf.nn.relu, tf.nn.relu6 = rules
            image_signal, at = signals(net, x.astype(dtype), target, live if method == "gradient" else [])
            said[f"{method}.{dtype}"] = image_signal
            for key, i in zip(values.files, chosen, strict=True):
                if i is not None and at:
                    said[f"a.{key}.{dtype}"], said[f"g.{key}.{dtype}"] = at[live.index(i)]
    np.savez(f"{folder}/answer.npz", **said)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    command, name, side, seed, *rest = sys.argv[1:]
    {"make": make, "answer": answer}[command](name, int(side), int(seed), *rest)
