"""Compares compiled models in several engines with the model itself and with `whycam explain`; rewrites a table."""

import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino

from photos import photos

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LAYER = ["grad-cam", "c-mwp"]
METHODS = ["grad-cam", "guided-backprop", "c-mwp"]
RUNNER = ROOT / "target/release/run-onnx"
WHYCAM = ROOT / "target/release/whycam"
HEAD = "| model | method | size | engine | scores | map | same engine | correlation | top 1 |"


def most(a, b):
    """Greatest difference by the greatest value, of the worst image."""
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in zip(a, b))


def l2(a, b):
    """Relative L2, of the worst image."""
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)) for a, b in zip(a, b))


def correlation(a, b):
    """Pearson's, of the worst image."""
    return min(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(a, b))


def ort(file, x):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    each = [session.run(None, {session.get_inputs()[0].name: one[None]}) for one in x]
    return {name: np.concatenate([run[i] for run in each]) for i, name in enumerate(names)}


def vino(file, x):
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(file), "CPU", hints)
    each = [[np.array(v) for v in model(one[None]).values()] for one in x]
    return {o.any_name: np.concatenate([run[i] for run in each]) for i, o in enumerate(model.outputs)}


def outside(command, file, x, tmp, shapes, cwd=None):
    """Runs a program that writes each output as float32."""
    (tmp / "x.f32").write_bytes(x.tobytes())
    subprocess.run([*command, file, tmp / "x.f32", tmp / "out"], cwd=cwd, check=True, capture_output=True)
    return {n: np.frombuffer((tmp / f"out.{n}.f32").read_bytes(), np.float32).reshape(s) for n, s in shapes.items()}


def explained(file, method, engine, tmp, x):
    """The maps as `whycam explain` computes them."""
    np.save(tmp / "x.npy", x)
    out = tmp / f"out-{engine}"
    args = ["explain", tmp / "x.npy", "--model", file, "--method", method, "--engine", engine, "--raw", "--no-pictures", "--out", out]
    subprocess.run([WHYCAM, *args, "--quiet"], check=True)
    return np.stack([np.load(next(out.glob(f"x-{i}.*.npy"))) for i in range(len(x))])


def rows(file, method, web):
    """Rows of the table for one model and method."""
    x = np.stack(list(photos(file.stem)))
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        made = tmp / "made.onnx"
        said = subprocess.run([WHYCAM, "compile", file, "--method", method, "-o", made], capture_output=True, text=True)
        if said.returncode:
            yield f"| {file.stem} | {method} | {said.stderr.splitlines()[0]} |||||||"
            return
        onnx.checker.check_model(onnx.load(made), full_check=True)
        size = made.stat().st_size / file.stat().st_size
        own = ort(file, x)
        scores = next(iter(own))
        maps = {engine: explained(file, method, engine, tmp, x) for engine in ["ort", "rten"]}
        far = most if method in LAYER else l2
        here = ort(made, x)
        shapes = {name: value.shape for name, value in here.items()}
        runs = {
            "ort": lambda: here,
            "rten": lambda: outside([RUNNER], made, x, tmp, shapes),
            "openvino": lambda: vino(made, x),
            "web": lambda: outside(["node", HERE / "web.mjs"], made, x, tmp, shapes, web),
        }
        for engine, run in runs.items():
            row = f"| {file.stem} | {method} | {size:.4f} | {engine}"
            try:
                out = run()
            except Exception as e:
                yield f"{row} | failed: {(str(e).splitlines() or [repr(e)])[0][:160]} |||||"
                continue
            heat, found = out["heatmap"], out["map"].reshape(maps["ort"].shape)
            assert 0 <= heat.min() and heat.max() <= 1, f"{engine}: {heat.min()} to {heat.max()}"
            # Where engines disagree on the class, maps are of different classes.
            agree = out[scores].argmax(-1) == own[scores].argmax(-1)
            same = f"{far(found, maps[engine]):.0e}" if engine in maps else ""
            columns = [f"{most(out[scores], own[scores]):.0e}", f"{far(found[agree], maps['ort'][agree]):.0e}", same]
            likeness = correlation(found[agree], maps["ort"][agree])
            yield " | ".join([row, *columns, f"{likeness:.5f}", f"{sum(agree)} of {len(x)}"]) + " |"


def main(models, web, report):
    files = sorted(Path(models).glob("*.onnx"))
    made = [HEAD, "|---|---|---|---|---|---|---|---|---|"]
    for file, method in ((file, method) for file in files for method in METHODS):
        for row in rows(file, method, web):
            print(row, flush=True)
            made.append(row)
    packages = ["onnx", "onnxruntime", "openvino"]
    browser = re.search(r"onnxruntime-web@([\d.]+)", (HERE / "run").read_text())[1]
    versions = ", ".join([f"{name} {version(name)}" for name in packages] + [f"onnxruntime-web {browser} (WebAssembly, Node)"])
    before = Path(report).read_text().split("\n## Table\n")[0]
    Path(report).write_text(f"{before}\n## Table\n\n{versions}.\n\n" + "\n".join(made) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4])
