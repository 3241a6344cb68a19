"""Runs a model over images, one after the other, in an engine that has a Python package: engines.py ENGINE MODEL IN.f32 OUT.

Each engine is a program of its own, so that one that crashes takes no other row with it. `OUT.0.f32`, `OUT.1.f32`, … are the
model's outputs in their order, as those of run.rs and web.mjs are.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUN_ONNX = ROOT / "target/release/run-onnx"
ENGINES = ["ort", "ort-plain", "rten", "openvino", "web"]


def ort(file, plain=False):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {session.get_inputs()[0].name: image})


def vino(file):
    import openvino

    # On some processors it computes in bfloat16 by itself, and rounds what meets int8 weights to int8.
    exact = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    model = openvino.Core().compile_model(file, "CPU", exact)
    return lambda image: [np.array(value) for value in model(image).values()]


def command(engine):
    """The program, before its arguments MODEL IN.f32 OUT."""
    outside = {"rten": [RUN_ONNX], "web": ["node", HERE / "web.mjs"]}
    return outside.get(engine) or [sys.executable, Path(__file__), engine]


def told(engine, web):
    """The engine's version."""
    if engine == "rten":
        lock = (ROOT / "Cargo.lock").read_text()
        return lock.split('name = "rten"\nversion = "')[1].split('"')[0]
    if engine == "web":
        package = (web / "node_modules/onnxruntime-web/package.json").read_text()
        return package.split('"version": "')[1].split('"')[0]
    return version({"ort": "onnxruntime", "ort-plain": "onnxruntime", "openvino": "openvino"}[engine])


def main(engine, file, images, out):
    run = vino(file) if engine == "openvino" else ort(file, plain=engine == "ort-plain")
    x = np.fromfile(images, np.float32).reshape(-1, 1, 3, 224, 224)
    each = [run(image) for image in x]
    for i, values in enumerate(zip(*each)):
        np.stack(values).astype(np.float32).tofile(f"{out}.{i}.f32")


if __name__ == "__main__":
    main(*sys.argv[1:5])
