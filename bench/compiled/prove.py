"""Compares compiled models in several engines with the model itself and with `whycam explain`; prints a table."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino

HERE = Path(__file__).parent
METHODS = ["grad-cam", "guided-backprop"]


def off(a, b):
    """Greatest difference by the greatest value."""
    return float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))


def l2(a, b):
    return float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30))


def runs(file, x, tmp, web):
    """The outputs of a model by engine."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    shapes = dict(zip(names, session.run(None, {session.get_inputs()[0].name: x})))
    yield "ort", shapes
    for mode in ["PERFORMANCE", "ACCURACY"]:
        hints = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": mode}
        out = openvino.Core().compile_model(str(file), "CPU", hints)(x)
        yield f"openvino, {mode.lower()}", {n: out[i] for i, n in enumerate(names)}
    (tmp / "x.f32").write_bytes(x.tobytes())
    subprocess.run(["node", HERE / "web.mjs", file, tmp / "x.f32", tmp / "web"], cwd=web, check=True, capture_output=True)
    read = lambda n: np.frombuffer((tmp / f"web.{n}.f32").read_bytes(), np.float32).reshape(shapes[n].shape)
    yield "web", {n: read(n) for n in names}


def explained(whycam, file, method, engine, tmp, x):
    """The map as `whycam explain` computes it."""
    np.save(tmp / "x.npy", x)
    out = tmp / f"out-{engine}"
    args = ["explain", tmp / "x.npy", "--model", file, "--method", method, "--engine", engine, "--raw", "--out", out, "--force", "--quiet"]
    subprocess.run([whycam, *args], check=True)
    return np.load(next(out.glob("*.npy")))


def main(whycam, models, web, only="*"):
    x = np.random.default_rng(7).standard_normal((1, 3, 224, 224)).astype(np.float32)
    print("| model | method | size | checker | engine | scores | map | heatmap range |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for file in sorted(Path(models).glob(f"{only}.onnx")):
        for method in METHODS:
            with tempfile.TemporaryDirectory() as tmp:
                tmp = Path(tmp)
                made = tmp / "made.onnx"
                said = subprocess.run([whycam, "compile", file, "--method", method, "-o", made], capture_output=True, text=True)
                if said.returncode:
                    print(f"| {file.stem} | {method} | {said.stderr.splitlines()[0]} ||||||", flush=True)
                    continue
                onnx.checker.check_model(onnx.load(made), full_check=True)
                size = made.stat().st_size / file.stat().st_size
                session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
                own = session.run(None, {session.get_inputs()[0].name: x})[0]
                maps = {engine: explained(whycam, file, method, engine, tmp, x) for engine in ["ort", "rten"]}
                far = off if method == "grad-cam" else l2
                row = f"| {file.stem} | {method} | {size:.4f} | ok"
                print(f"{row} | rten (explain) | | {far(maps['rten'], maps['ort']):.1e} | |", flush=True)
                try:
                    for engine, out in runs(made, x, tmp, web):
                        scores, heat = next(iter(out.values())), out["heatmap"]
                        map_ = out["map"][0, 0].reshape(maps["ort"].shape)
                        print(f"{row} | {engine} | {off(scores, own):.1e} | {far(map_, maps['ort']):.1e} | {heat.min():.3f} to {heat.max():.3f} |", flush=True)
                except Exception as e:
                    print(f"{row} | failed: {str(e).splitlines()[0][:120]} ||||", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:5])
