"""Times compiled models in ONNX Runtime as they are and without the copies of square weights: cost.py WORK; writes WORK/cost.json."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from photos import photos
from prove import WHYCAM

MODELS, METHODS, LOADS, RUNS = ["resnet50", "vgg16"], ["grad-cam", "guided-backprop"], 3, 9


def without(file):
    """The file with weights read directly where it reads them reversed twice, and the sizes of those that it so reads."""
    model = onnx.load(file)
    weights = {w.name: int(np.prod(w.dims)) * 4 for w in model.graph.initializer}
    maker = {name: node for node in model.graph.node for name in node.output}
    copies = {}
    for node in model.graph.node:
        inner = maker.get(node.input[0]) if node.op_type == "Slice" else None
        if inner is not None and inner.op_type == "Slice" and inner.input[0] in weights and node.input[1:] == inner.input[1:]:
            copies[node.output[0]] = inner.input[0]
    for node in model.graph.node:
        node.input[:] = [copies.get(name, name) for name in node.input]
    return model.SerializeToString(), [weights[name] for name in copies.values()]


def main(work):
    work = Path(work).resolve()
    lines = []
    for name, method in ((name, method) for name in MODELS for method in METHODS):
        file, made = work / "models" / f"{name}.onnx", work / "made" / f"cost.{name}.onnx"
        subprocess.run([WHYCAM, "compile", file, "--method", method, "-o", made, "--quiet"], check=True)
        plain, copied = without(made)
        image = next(photos(name))[None]
        files, sessions = [made.read_bytes(), plain], [None, None]
        loads, runs = [[], []], [[], []]
        # In turn, so that what slows the machine slows both.
        for i in [0, 1] * LOADS:
            begin = time.perf_counter()
            sessions[i] = onnxruntime.InferenceSession(files[i], providers=["CPUExecutionProvider"])
            loads[i].append(1e3 * (time.perf_counter() - begin))
        feed = {sessions[0].get_inputs()[0].name: image}
        for i in [0, 1] * (1 + RUNS):
            begin = time.perf_counter()
            sessions[i].run(None, feed)
            runs[i].append(1e3 * (time.perf_counter() - begin))
        # The first run is a rehearsal.
        loads, medians = [float(np.median(times)) for times in loads], [float(np.median(times[1:])) for times in runs]
        lines.append([name, method, len(copied), f"{sum(copied) / 1e6:.1f}", *(f"{t:.0f}" for t in loads), *(f"{t:.1f}" for t in medians)])
        print(lines[-1], flush=True)
        made.unlink()
    (work / "cost.json").write_text(json.dumps(lines))


if __name__ == "__main__":
    main(sys.argv[1])
