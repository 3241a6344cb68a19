"""One model: export, explain, compare. Returns rows that can be kept as JSON."""

import time
from dataclasses import dataclass

import numpy as np
import onnx
import torch

from . import subject, weights
from .export import CannotExport, export
from .reference import Reference, grad_cam, grid, laid_out
from .zoo import first

LAYER_TOLERANCE = 1e-3  # max|a−b| / max|b| of layer maps
IMAGE_TOLERANCE = 1e-2  # relative L2 of image-space maps against float32
SEEDS = 4
TIMES_FLOAT32 = 2  # whycam's error against float64, in PyTorch float32's own
NOISE = 1e-5  # errors against float64 that are rounding alone, whoever makes them
VANISHES = 1e-4  # a map is no reference when it is that small a part of its terms
NOTHING = 1e-30  # nor when float32 can hardly hold it
GRAD_CAM = "grad-cam:relu=off"
IMAGE_RULES = {"gradient": None, "guided-backprop": "guided_backprop"}


def relative_l2(a, b):
    return float(np.linalg.norm((a - b).ravel()) / max(np.linalg.norm(b.ravel()), np.finfo(np.float64).tiny))


def measure(entry, exporter, engine, folder):
    """The first seed whose reference neither vanishes nor hangs on rounding."""
    rejected = []
    for seed in range(SEEDS):
        row = attempt(entry, exporter, seed, engine, folder)
        if not row.get("vanished") and not row.get("ill"):
            break
        rejected.append(f"{seed}: {row.get('vanished') or row.get('ill')}")
    return row | {"rejected": rejected}


@dataclass
class File:
    """An exported file and what whycam answered about it."""

    path: object
    row: dict
    maps: list


def attempt(entry, exporter, seed, engine, folder):
    torch.manual_seed(seed)
    inputs = [weights.image(entry.shape, seed), *entry.more().values()]
    net = weights.draw(entry.build().eval(), seed, inputs)
    names = ["image", *entry.more()]
    with torch.no_grad():
        scores = first(net(*inputs))
    if not scores.isfinite().all():
        return {"vanished": "scores are not finite"}
    target = int(scores.reshape(scores.shape[0], -1)[0].argmax())
    row = {"model": entry.name, "source": entry.source, "shape": list(entry.shape), "seed": seed, "class": target, "files": []}
    arrays = {name: t.numpy() for name, t in zip(names, inputs, strict=True)}

    start = time.monotonic()
    about = {"exporter": exporter, "methods": []}
    row["files"].append(about)
    path = folder / f"{exporter}.{seed}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            export(net, inputs, exporter, path, entry.opset, names)
    except CannotExport as error:
        path.unlink(missing_ok=True)
        about["no_export"] = str(error)
        return row
    about["opset"] = onnx.load(path, load_external_data=False).opset_import[0].version
    about["seconds_export"] = round(time.monotonic() - start, 1)
    file = ask(File(path, about, []), arrays, f"class:{target}", engine, folder)
    compare(net, inputs, target, [file], row, arrays)
    return row


def ask(file, arrays, target, engine, folder):
    """Fills in whycam's maps, or why there are none."""
    about = file.row
    try:
        seen = subject.inspect(file.path)
    except subject.Refused as said:
        about["methods"] = [{"method": m, "cause": f"inspect: {said}"} for m in (GRAD_CAM, *IMAGE_RULES)]
        return file
    layers = {layer["name"]: layer for layer in seen["layers"]}
    auto = next((name for name, layer in layers.items() if layer["automatic"]), None)
    about["automatic"] = auto
    about["opaque"] = seen["opaque"]

    def explain(methods, layers):
        return subject.explain(file.path, arrays, target, methods, layers, engine, folder / "explained")

    known = list(layers)
    middle = [n for n in known[len(known) // 2 :: -1] if n != auto and layers[n]["height"] * layers[n]["width"] > 1][:1]
    asked = [([GRAD_CAM, *IMAGE_RULES], [auto or "auto", *middle])]
    while asked:
        methods, where = asked.pop(0)
        try:
            record = explain(methods, where)
        except subject.Refused as said:
            if len(methods) > 1:
                asked += [([m], where if m == GRAD_CAM else where[:1]) for m in methods]
            elif len(where) > 1:
                asked += [(methods, [w]) for w in where]
            else:
                about["methods"].append({"method": methods[0], "layer": where[0], "named": where == middle, "cause": str(said)})
            continue
        about["engine"] = f"{record['engine']['name']} {record['engine']['version']}"
        file.maps += [entry | {"named": entry["layer"] in middle} for entry in record["maps"]]
    for entry in file.maps:
        entry["channels"] = layers.get(entry["layer"], {}).get("channels")
    return file


def compare(net, inputs, target, files, row, arrays):
    """Adds, to each file's row, one finding per map."""
    wanted = {}
    for i, file in enumerate(files):
        names = sorted({m["layer"] for m in file.maps if is_layer_map(m)})
        if names:
            for name, value in zip(names, subject.values(file.path, arrays, names), strict=True):
                wanted[i, name] = value
    score = lambda out: first(out).flatten(1)[0, target]
    reference = Reference(net, inputs, score)
    found = dict(zip(wanted, reference.find(list(wanted.values())), strict=True)) if wanted else {}
    calls = sorted({f[0] for f in found.values() if f})
    asked = {"gradient": calls}
    if any(m["method"] == "guided-backprop" for file in files for m in file.maps):
        asked["guided-backprop"] = []
    runs = {method: [reference.signals(calls, IMAGE_RULES[method])] for method, calls in asked.items()}
    row["rectifiers"] = runs["guided-backprop"][0][2] if "guided-backprop" in runs else None
    exact = {}
    try:
        wide = reference.double()
        exact = {method: wide.signals(calls, IMAGE_RULES[method]) for method, calls in asked.items()}
    except Exception as error:
        row["note"] = f"PyTorch does not run it in float64: {type(error).__name__}: {str(error)[:120]}"

    def judged(file, i):
        """A finding per map of the file."""
        for m in file.maps:
            finding = {"method": m["method"], "layer": m.get("layer"), "named": m.get("named", False), "verdict": m["verdict"]}
            if not is_layer_map(m):
                method = m["method"]
                yield finding | image_finding(m, [r[0] for r in runs[method]], exact[method][0] if exact else None)
            elif call := found.get((i, m["layer"])):
                at = lambda signals: signals[1][calls.index(call[0])]
                yield finding | layer_finding(m, call, [at(r) for r in runs["gradient"]], at(exact["gradient"]) if exact else None)
            else:
                yield finding | {"cause": "no PyTorch call gives this activation"}

    findings = [list(judged(file, i)) for i, file in enumerate(files)]
    if any("error" in f and not f["pass"] for file in findings for f in file):
        narrow = reference.single()  # how far float32 is from itself matters only here, and is dear
        for method, calls_ in asked.items():
            runs[method] += narrow.otherwise(calls_, IMAGE_RULES[method])
        findings = [list(judged(file, i)) for i, file in enumerate(files)]
    for file, more in zip(files, findings, strict=True):
        file.row["methods"] = sorted(file.row["methods"] + more, key=lambda f: (bool(f.get("named")), f["method"]))
        for f in more:
            for why, key in (("vanishes", "vanished"), ("ill", "ill")):
                if f.get(why):
                    row[key] = f"{f['method']} at {f['layer']}"


def is_layer_map(m):
    return m["method"].startswith("grad-cam")


def layer_finding(m, call, runs, exact):
    _, path, function, layout = call
    finding = {"module": f"{path} {function}".strip()}
    if runs[0][1] is None:
        return finding | {"cause": "PyTorch sends no signal there"}
    array = np.squeeze(m["array"])
    size = array.shape if array.ndim == 2 else (array.shape + (1, 1))[:2]

    def cam(value, signal):
        a, g = (grid(laid_out(t, layout), size, m["channels"]) for t in (value, signal))
        return [t[0].double().numpy() for t in grad_cam(a, g)]

    try:
        (expected, terms), *others = [cam(*r) for r in runs]
    except ValueError as error:
        return finding | {"cause": str(error)}
    finding["grid"] = list(size)
    largest = float(np.abs(expected).max())
    if not largest > max(VANISHES * float(terms.max()), NOTHING) or not np.isfinite(expected).all():
        return finding | {"vanishes": True, "cause": "the reference vanishes"}
    far = lambda a, b: float(np.abs(a - b).max() / np.abs(b).max())
    return finding | judge(far, array.reshape(expected.shape), [expected, *(o[0] for o in others)], exact and cam(*exact)[0], LAYER_TOLERANCE)


def image_finding(m, runs, exact):
    ours = m["array"].astype(np.float64)
    flat = lambda t: t.double().numpy().reshape(ours.shape)
    if float(runs[0].abs().max()) < NOTHING:
        return {"vanishes": True, "cause": "the reference vanishes"}
    return judge(relative_l2, ours, [flat(r) for r in runs], None if exact is None else flat(exact), IMAGE_TOLERANCE, twice=True)


def judge(far, ours, runs, exact, tolerance, twice=False):
    """Errors and verdict: against PyTorch float32, and `twice` also against float64, where its own error is the yardstick."""
    finding = {"error": far(ours, runs[0])}
    good = finding["error"] <= tolerance
    if exact is not None:
        finding["error64"], finding["torch64"] = far(ours, exact), max(far(r, exact) for r in runs)
        close = finding["error64"] <= max(TIMES_FLOAT32 * finding["torch64"], NOISE)
        if twice:
            good &= close
        if not good and close and finding["torch64"] > tolerance / 3:
            finding["ill"] = True  # PyTorch's float32 does not say what the map is to that tolerance
    return finding | {"pass": bool(good)}
