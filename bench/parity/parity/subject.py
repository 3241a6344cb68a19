"""The `whycam` binary on a file, and what ONNX Runtime says of values in it."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

ROOT = Path(__file__).parents[3]
BINARY = os.environ.get("WHYCAM", str(ROOT / "target" / "release" / "whycam"))


class Refused(Exception):
    """What whycam said instead of an answer."""


def whycam(*args):
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise Refused(said or f"exit code {done.returncode}")
    return done.stdout


def version():
    """Which whycam it is: version, and commit where that is known."""
    return " ".join([whycam("--version").strip(), os.environ.get("WHYCAM_COMMIT", "")]).strip()


def inspect(model, *more):
    return json.loads(whycam("inspect", model, "--json", *more))


def explain(model, inputs, target, methods, layers, engine, folder, options=()):
    """Per method and layer the map and its record; `inputs` are named arrays, the image first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (_, image), *further = inputs.items()
    np.save(folder / "x.npy", image)
    more = []
    for name, array in further:
        np.save(folder / f"{name}.npy", array)
        more += ["--input", f"{name}={folder / name}.npy"]
    out = whycam(
        "explain", folder / "x.npy", "--model", model, "--target", target, "--method", ",".join(methods), "--layer", ",".join(layers),
        "--engine", engine, "--threads", 1, "--raw", "--json", "--quiet", "--out", folder / "out", *more, *options,
    )  # fmt: skip
    record = json.loads(out.strip().splitlines()[-1])
    for entry in record["maps"]:
        entry["array"] = np.load(folder / "out" / entry["files"]["raw"])
    return record


def values(model, inputs, names):
    """What ONNX Runtime computes for values of a file, with no optimisation."""
    proto = onnx.load(model, load_external_data=False)
    have = {o.name for o in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    beside = model.with_suffix(".values.onnx")
    onnx.save(proto, beside)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(beside, options, providers=["CPUExecutionProvider"])
        known = {i.name for i in session.get_inputs()}
        return session.run(list(names), {k: v for k, v in inputs.items() if k in known})
    finally:
        beside.unlink()
