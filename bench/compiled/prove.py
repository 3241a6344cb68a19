"""Proves compiled models in several engines: prove.py WORK [MODEL...]; report.py makes COMPILED.md of what this leaves in WORK/rows.

A row is one model, method and engine. It is kept with a hash of what was run (the compiled file, the photos, the engine's
version), and measured again only when that is different, so that a run that breaks goes on where it was.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from engines import ENGINES, ROOT, command, told
from models import SIGNED, names
from photos import photos

HERE = Path(__file__).parent
WHYCAM = ROOT / "target/release/whycam"
METHODS = ["grad-cam", "guided-backprop", "c-mwp"]
# Of the image: a single ReLU that rounding switches changes a patch of it, so that its norm is what is compared.
IMAGE = ["guided-backprop"]
ADDED = ["map", "heatmap", "range"]


def most(a, b):
    """Greatest difference by the greatest value, of the worst image."""
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in zip(a, b))


def l2(a, b):
    """Relative L2, of the worst image."""
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)) for a, b in zip(a, b))


def correlation(a, b):
    """Pearson's, of the worst image; maps of a single value have none."""
    return min(float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float("nan") for a, b in zip(a, b))


def run(engine, file, x, web):
    """The model's outputs by name, a row an image."""
    with tempfile.TemporaryDirectory() as tmp:
        x.tofile(f"{tmp}/x.f32")
        args = [*command(engine), file, f"{tmp}/x.f32", f"{tmp}/out"]
        done = subprocess.run(args, cwd=web, capture_output=True, text=True, timeout=900)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
            raise RuntimeError(next((line for line in lines if "rror" in line), lines[-1]))
        names = [o.name for o in onnx.load(file).graph.output]
        return {n: np.fromfile(f"{tmp}/out.{i}.f32", np.float32).reshape(len(x), -1) for i, n in enumerate(names)}


def explained(file, method, engine, x):
    """The maps as `whycam explain` computes them."""
    with tempfile.TemporaryDirectory() as tmp:
        np.save(f"{tmp}/x.npy", x)
        args = ["explain", f"{tmp}/x.npy", "--model", file, "--method", method, "--engine", engine, "--raw", "--no-pictures", "--quiet"]
        subprocess.run([WHYCAM, *args, "--out", f"{tmp}/out"], check=True)
        return np.stack([np.load(next(Path(tmp, "out").glob(f"x-{i}.*.npy"))).ravel() for i in range(len(x))])


def checked(file, made):
    """That the compiled file is sound, and has the model's weights as they were: their bytes, and so their type."""
    model = onnx.load(made)
    onnx.checker.check_model(made, full_check=True)
    weights = {w.name: w.SerializeToString() for w in model.graph.initializer}
    changed = [w.name for w in onnx.load(file).graph.initializer if weights.get(w.name) != w.SerializeToString()]
    assert not changed, f"weights are not the model's: {changed[:3]}"


def refused(file, said, x):
    """The refusal, and how far below 0 the value goes that the node named reads."""
    node = re.search(r'node "([^"]+)" \((\w+)\)', said)
    model = onnx.load(file)
    read = next(n.input[0] for n in model.graph.node if n.name == node[1])
    model.graph.output.append(onnx.ValueInfoProto(name=read))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    least = min(float(session.run([read], {name: one[None]})[0].min()) for one in x)
    return {"refused": node[1], "op": node[2], "least": least}


class Case:
    """One model and method; what several rows need is made once, and not at all where all rows are kept."""

    def __init__(self, file, method, work):
        self.file, self.method, self.work = file, method, work
        self.made = work / "made" / f"{file.stem}.{method}.onnx"
        self.x = np.stack(list(photos(file.stem)))
        self.known = {}

    def once(self, key, make):
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    def own(self, engine):
        """The model's own scores."""
        return self.once(("own", engine), lambda: next(iter(run(engine, self.file, self.x, self.work / "web").values())))

    def compiled(self, engine):
        return self.once(("compiled", engine), lambda: run(engine, self.made, self.x, self.work / "web"))

    def maps(self, engine):
        return self.once(("maps", engine), lambda: explained(self.file, self.method, engine, self.x))

    def contrast(self):
        """How many times as large as c-MWP the maps are that it subtracts, for the worst photo."""
        mwp = self.made.with_suffix(".mwp")
        subprocess.run([WHYCAM, "compile", self.file, "--method", "mwp", "-o", mwp, "--quiet"], check=True)
        most = [run("ort", file, self.x, self.work / "web")["map"].max(-1) for file in (mwp, self.made)]
        mwp.unlink()
        return {"contrast": float((most[0] / most[1]).max())}

    def row(self, engine):
        out = self.compiled(engine)
        scores, there = (next(v for name, v in o.items() if name not in ADDED) for o in (out, self.compiled("ort")))
        found, heat = out["map"], out["heatmap"]
        assert 0 <= heat.min() and heat.max() <= 1, f"heatmap is from {heat.min()} to {heat.max()}"
        assert any(map.std() for map in found), "every map is blank"
        far = l2 if self.method in IMAGE else most
        same = scores.argmax(-1) == self.own("ort").argmax(-1)
        row = {"top1": int(same.sum()), "photos": len(same), "scores": most(scores, self.own("ort"))}
        # Where engines disagree on the class, maps are of different classes.
        agree = scores.argmax(-1) == there.argmax(-1)
        row["map"] = far(found[agree], self.maps("ort")[agree])
        row["correlation"] = correlation(found[agree], self.maps("ort")[agree])
        if engine in ("ort", "rten"):
            row["same"] = far(found, self.maps(engine))
        if "qdq" in self.file.stem:
            row["own"] = most(scores, self.own(engine))
            row["alone"] = most(self.own(engine), self.own("ort"))
            np.save(self.work / "rows" / f"{self.file.stem}.{self.method}.{engine}.npy", found)
        return row


def rows(file, method, work):
    case = Case(file, method, work)
    args = [WHYCAM, "compile", file, "--method", method, "-o", case.made, "--quiet"]
    said = subprocess.run(args, capture_output=True, text=True)
    engines = [engine for engine in ENGINES if engine != "ort-plain" or "qdq" in file.stem]
    if said.returncode:
        engines = ["refusal"]
    else:
        checked(file, case.made)
        engines += ["contrast"] if method == "c-mwp" else []
    for engine in engines:
        about = {"model": file.stem, "method": method, "engine": engine}
        kept = work / "rows" / f"{file.stem}.{method}.{engine}.json"
        ran = said.stderr if engine == "refusal" else told("ort" if engine == "contrast" else engine, work / "web")
        made = file if engine == "refusal" else case.made
        about["of"] = hashlib.sha256(b"".join([made.read_bytes(), case.x.tobytes(), ran.encode()])).hexdigest()
        if kept.exists() and json.loads(kept.read_text())["of"] == about["of"]:
            print(f"{file.stem} {method} {engine}: kept", flush=True)
            continue
        try:
            if engine == "refusal":
                if file.stem not in SIGNED:
                    raise RuntimeError(said.stderr.splitlines()[0])
                row = refused(file, said.stderr, case.x)
            elif engine == "contrast":
                row = case.contrast()
            else:
                row = {"size": case.made.stat().st_size / file.stat().st_size, **case.row(engine)}
        except Exception as e:
            row = {"failed": str(e).splitlines()[0][:200] if str(e) else repr(e)}
        print(f"{file.stem} {method} {engine}: {row}", flush=True)
        # Another try may fare better than one that failed.
        about["of"] = "" if "failed" in row else about["of"]
        kept.write_text(json.dumps({**about, **row}, indent=1))
    case.made.unlink(missing_ok=True)


def main(work, asked):
    work = Path(work).resolve()
    for folder in ["made", "rows"]:
        (work / folder).mkdir(exist_ok=True)
    unknown = [name for name in asked if name not in names()]
    if unknown:
        sys.exit(f"no model is called {unknown[0]}: {', '.join(names())}")
    for name in asked or names():
        for method in METHODS:
            rows(work / "models" / f"{name}.onnx", method, work)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
