"""Runs in a Python of its own, which has TensorFlow: makes a Keras model, exports it with tf2onnx, and says what its maps should be.

    keras_worker.py make   MODEL SIDE SEED FILE.onnx FOLDER
    keras_worker.py answer MODEL SIDE SEED FOLDER      (reads values.npz, writes answer.npz)
    keras_worker.py unsure MODEL SIDE SEED FOLDER      (the same with other roundings; writes unsure.npz)
"""

import json
import os
import sys

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from layouts import equal_up_to_layout  # noqa: E402

RELU, RELU6, MAX_POOL = tf.nn.relu, tf.nn.relu6, tf.nn.max_pool
EPS = float(np.finfo(np.float32).eps)
JITTER = 8 * EPS  # of the largest value, as in reference.py
NEAR, NOISES = 2, 4
MATCHES = 8  # layers that have one value, as in reference.py


class Rectifiers:
    """TensorFlow's rectifiers and max pools while it is entered. `guided` changes what rectifiers send back to `g·φ′(x)·[g>0]`; `noise`
    seeds a disturbance of what they decide on.

    Rectifiers of one value are one rectifier, as they are in the file: tf2onnx merges nodes that are equal. What such a rule makes
    of a sum of signals is not the sum of what it makes of each.
    """

    def __init__(self, guided=False, noise=None):
        self.guided, self.rng, self.seen = guided, None if noise is None else np.random.default_rng(noise), {}

    def __enter__(self):
        tf.nn.relu, tf.nn.relu6, tf.nn.max_pool = self.once(RELU, np.inf), self.once(RELU6, 6), self.max_pool
        return self

    def __exit__(self, *error):
        tf.nn.relu, tf.nn.relu6, tf.nn.max_pool = RELU, RELU6, MAX_POOL

    def disturbed(self, x, size):
        return x if self.rng is None else x + tf.constant(JITTER * self.rng.normal(size=x.shape), x.dtype) * size

    def once(self, rectifier, bound):
        @tf.custom_gradient
        def rule(x):
            on = (x > 0) & (x < bound)
            return rectifier(x), lambda g: tf.where(on & (g > 0), g, tf.zeros_like(g))

        def f(x, name=None):
            if id(x) not in self.seen:
                value = self.disturbed(x, tf.reduce_max(tf.abs(x)))
                self.seen[id(x)] = x, (rule if self.guided else rectifier)(value)  # x stays, so that its id is no other's
            return self.seen[id(x)][1]

        return f

    def max_pool(self, x, *args, **more):
        return MAX_POOL(self.disturbed(x, tf.stop_gradient(x)), *args, **more)  # ties of equal zeros stay ties


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


METHODS = {"gradient": False, "guided-backprop": True}


def asked(folder):
    made, values = np.load(f"{folder}/made.npz"), np.load(f"{folder}/values.npz")
    return made["x"], int(made["target"]), {key: values[key] for key in values.files}


def answer(name, side, seed, folder):
    x, target, values = asked(folder)
    drawn = weights(name, side, seed)
    net, names = network(name, side, seed, "float32", drawn)
    outputs = [o.numpy() for o in net(x, training=False)[:-1]]
    said, chosen = {}, {}
    for key, value in values.items():
        layouts = [(i, equal_up_to_layout(o, value)) for i, o in enumerate(outputs) if o.size == value.size]
        found = [(i, layout) for i, layout in layouts if layout][:MATCHES]
        chosen[key] = [i for i, _ in found]
        said[f"places.{key}"] = [names[i] for i, _ in found]
        for at, (_, layout) in enumerate(found):
            said[f"perm.{key}.{at}"] = layout[0] or ()
    said["chosen"] = json.dumps(chosen)
    for dtype in ("float32", "float64"):
        net, _ = network(name, side, seed, dtype, drawn)
        for method in METHODS:
            said |= tell(net, x.astype(dtype), target, chosen, method, dtype)
    np.savez(f"{folder}/answer.npz", **said)


def tell(net, x, target, chosen, method, run, noise=None):
    """The signal at the image, and for the gradient per value its layers' outputs and the signals there."""
    live = sorted({i for at in chosen.values() for i in at}) if method == "gradient" else []
    with Rectifiers(METHODS[method], noise):
        image_signal, at = signals(net, x, target, live)
    said = {f"{method}.{run}": image_signal}
    for key, layers in chosen.items() if live else ():
        for k, i in enumerate(layers):
            said[f"a.{key}.{k}.{run}"], said[f"g.{key}.{k}.{run}"] = at[live.index(i)]
    return said


def unsure(name, side, seed, folder):
    """What float32 gives for images that differ in their last bit (`near`), and what float64 gives when every value that a rectifier or
    a maximum decides on is disturbed by as much as float32 may (`disturbed`)."""
    x, target, _ = asked(folder)
    chosen = json.loads(str(np.load(f"{folder}/answer.npz")["chosen"]))
    drawn, rng, said = weights(name, side, seed), np.random.default_rng(0), {}
    net, _ = network(name, side, seed, "float32", drawn)
    for k in range(NEAR):
        near = x * (1 + np.float32(EPS) * rng.integers(-1, 2, x.shape).astype(np.float32))
        for method in METHODS:
            said |= tell(net, near, target, chosen, method, f"near{k}")
    net, _ = network(name, side, seed, "float64", drawn)
    for k in range(NOISES):
        for method in METHODS:
            said |= tell(net, x.astype("float64"), target, chosen, method, f"disturbed{k}", noise=k)
    np.savez(f"{folder}/unsure.npz", **said)


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    command, name, side, seed, *rest = sys.argv[1:]
    {"make": make, "answer": answer, "unsure": unsure}[command](name, int(side), int(seed), *rest)
