"""One model and exporter: export, explain, compare. Returns a row that can be kept as JSON."""

from collections import defaultdict

import numpy as np
import onnx

from . import subject
from .export import CannotExport
from .layouts import laid_out
from .reference import TOKENS, grad_cam, grids
from .torch_side import RULES, TorchSide

SEEDS = 4
LAYER_TOLERANCE = 1e-3  # max|a−b| / max|b| of layer maps
IMAGE_TOLERANCE = 1e-2  # relative L2 of image-space maps against float32
TIMES_FLOAT32 = 2  # whycam's error against float64, in the framework's own of float32
NOISE = 1e-5  # errors against float64 that are rounding alone, whoever makes them
VANISHES = 1e-4  # a map is no reference when it is that small a part of what cancels in it: float32 knows it to 1e-3 at best
NOTHING = 1e-30  # nor when float32 can hardly hold it
CONTRADICTS = 1e-3  # a gradient that is farther from float64 is not off by rounding
CANDIDATES = 12  # layers that are looked for at once, from the middle down
TIMES = 3  # this often
GRAD_CAM = "grad-cam:relu=off"


def measure(entry, exporter, engine, folder):
    """The first seed whose reference neither vanishes nor hangs on rounding."""
    rejected = []
    for seed in range(SEEDS):
        row = attempt(entry, exporter, seed, engine, folder)
        if not row.get("vanished") and not row.get("ill"):
            break
        rejected.append(f"{seed}: {row.get('vanished') or row.get('ill')}")
    return row | {"rejected": rejected}


def attempt(entry, exporter, seed, engine, folder):
    side = (entry.side or TorchSide)(entry, seed)
    row = {"seed": seed, "target": side.target}
    if not side.finite:
        return row | {"vanished": "scores are not finite"}
    row |= {"exporter": exporter, "methods": []}
    path = folder / f"{exporter}.{seed}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        side.export(exporter, path)
    except CannotExport as error:
        path.unlink(missing_ok=True)
        row["no_export"] = str(error)[:200]
        return row
    row["target"] = side.target
    row["opset"] = onnx.load(path, load_external_data=False).opset_import[0].version
    maps = ask(path, row, side, engine, folder / "explained")
    compare(side, path, maps, row)
    return row


def ask(path, row, side, engine, folder):
    """whycam's maps; why there are none goes into the row."""
    options = side.entry.options
    layers, auto = {}, None
    try:
        seen = subject.inspect(path, *options)
        layers = {layer["name"]: layer for layer in seen["layers"]}
        auto = next((name for name, layer in layers.items() if layer["automatic"]), None)
    except subject.Refused as said:
        row["methods"] = [{"method": m, "cause": f"inspect: {said}"} for m in (GRAD_CAM, *RULES)]
        return []
    middle = half_way(side, path, layers, auto)
    asked = [([GRAD_CAM, *RULES], [auto or "auto", *middle])]
    maps = []
    while asked:
        methods, where = asked.pop(0)
        try:
            record = subject.explain(path, side.inputs, side.target, methods, where, engine, folder, options)
        except subject.Refused as said:
            if len(methods) > 1:
                asked += [([m], where if m == GRAD_CAM else where[:1]) for m in methods]
            elif len(where) > 1:
                asked += [(methods, [w]) for w in where]
            else:
                row["methods"].append({"method": methods[0], "layer": where[0], "named": where == middle, "cause": str(said)})
            continue
        row["engine"] = f"{record['engine']['name']} {record['engine']['version']}"
        for m in record["maps"]:
            maps.append(m | {"named": m["layer"] in middle, "channels": layers.get(m["layer"], {}).get("channels")})
    return maps


def half_way(side, path, layers, auto):
    """The name of the layer nearest the middle that the framework has too (exporters split calls) and whose Grad-CAM does not vanish:
    that of an attention's keys does, whose signals add up to 0."""
    known = list(layers)
    near = [n for n in known[len(known) // 2 :: -1] if n != auto and layers[n]["height"] * layers[n]["width"] > 1]

    def is_reference(name, layout, value, signal):
        at = layers[name]
        if np.size(value) > at["channels"] * (at["height"] * at["width"] + TOKENS):
            return False  # windows that are padded have cells outside the image
        maps = layer_maps(value, signal, layout, (at["height"], at["width"]))
        return any(not vanishes(*map_and_terms) for map_and_terms in maps)

    for start in range(0, min(len(near), TIMES * CANDIDATES), CANDIDATES):
        found = locate(side, path, [*near[start : start + CANDIDATES], *([auto] if auto else [])])
        for (name, places), there in zip(found.items(), side.single("gradient").layers, strict=True):
            here = zip(places, there, strict=False)
            if name != auto and any(at is not None and at[1] is not None and is_reference(name, layout, *at) for (_, layout), at in here):
                return [name]
    return near[:1]


def locate(side, path, names):
    """Per value the places where the framework computes it, looked for once; what it says of layers is in this order."""
    if side.places is None or not set(names) <= set(side.places):
        side.places = dict(zip(names, side.find(subject.values(path, side.feed, names) if names else []), strict=True))
    return side.places


def layer_maps(value, signal, layout, size):
    """The Grad-CAM of a call's result and signal, and what it is made of, for every way in which they are a grid."""
    both = (grids(laid_out(np.asarray(t), layout).astype(np.float64), size) for t in (value, signal))
    return [[t.squeeze() for t in grad_cam(a, g)] for a, g in zip(*both, strict=True)]


def vanishes(expected, terms):
    return not float(np.abs(expected).max()) > max(VANISHES * float(terms.max()), NOTHING) or not np.isfinite(expected).all()


def compare(side, path, maps, row):
    """Adds a finding per map."""
    if not maps:
        return
    places = locate(side, path, sorted({m["layer"] for m in maps if is_layer_map(m)}))
    names = list(places)
    methods = ["gradient", *({m["method"] for m in maps} & {"guided-backprop"})]
    runs = {method: [side.single(method)] for method in methods}
    try:
        exact = {method: side.double(method) for method in methods}
    except Exception as error:
        exact = {}
        row["note"] = f"no float64: {type(error).__name__}: {str(error)[:120]}"

    unsure = {}

    def judged(m):
        finding = {"method": m["method"], "layer": m.get("layer"), "named": m["named"], "verdict": m["verdict"]}
        if not is_layer_map(m):
            method = m["method"]
            return finding | image_finding(m, [r.image for r in runs[method]], exact[method].image if exact else None, [r.image for r in unsure.get(method, [])])
        # A value may be what several calls give, views of one another; its signal is that of one of them.
        i, candidates = names.index(m["layer"]), []
        for calls in groups(places[m["layer"]]):
            place = " + ".join(places[m["layer"]][k][0] for k in calls), places[m["layer"]][calls[0]][1]
            at = lambda said: added([said.layers[i][k] for k in calls])
            candidates.append(layer_finding(m, place, [at(r) for r in runs["gradient"]], at(exact["gradient"]) if exact else None, [at(r) for r in unsure.get("gradient", [])]))
        return finding | min(candidates, key=lambda c: c.get("error", np.inf), default={"cause": "no call of the framework gives this activation"})

    findings = [judged(m) for m in maps]
    if any(not f.get("pass") and f.get("error64", 0) > CONTRADICTS for f in findings if f["method"] == "gradient") and side.mend():
        row["note"] = "PyTorch's gradient is none here, by finite differences in float64; it is with batch norms from their formula, which the reference has"
        runs = {method: [side.single(method)] for method in methods}
        exact = {method: side.double(method) for method in methods}
        findings = [judged(m) for m in maps]
    if any("error" in f and not f["pass"] for f in findings):
        for method in methods:  # how far float32 is from itself matters only here, and is dear
            runs[method] += side.otherwise(method)
            unsure[method] = side.disturbed(method)
        findings = [judged(m) for m in maps]
    row["methods"] = sorted(row["methods"] + findings, key=lambda f: (bool(f.get("named")), f["method"]))
    for f in findings:
        for why, key in (("vanishes", "vanished"), ("ill", "ill")):
            if f.get(why):
                row[key] = f"{f['method']} at {f['layer']}"


def groups(places):
    """Each call alone, and the calls of one function together: exporters merge what is computed twice, whose signals add up."""
    by_function = defaultdict(list)
    for k, (place, _) in enumerate(places):
        by_function[place.rsplit(" ", 1)[-1]].append(k)
    return [[k] for k in range(len(places))] + [calls for calls in by_function.values() if len(calls) > 1]


def added(calls):
    """The value that all calls give, and the sum of their signals."""
    signals = [signal for _, signal in calls if signal is not None and np.shape(signal) == np.shape(calls[0][0])]
    return calls[0][0], sum(signals[1:], signals[0]) if signals else None


def is_layer_map(m):
    return m["method"].startswith("grad-cam")


def layer_finding(m, place, runs, exact, unsure):
    module, layout = place
    finding = {"module": module}
    if runs[0][1] is None:
        return finding | {"cause": "the framework sends no signal there"}
    array = np.squeeze(m["array"])
    size = array.shape if array.ndim == 2 else (array.shape + (1, 1))[:2]
    finding["grid"] = list(size)

    every = [layer_maps(*r, layout, size) for r in (*runs, *([exact] if exact else []), *unsure)]
    if not every[0]:
        return finding | {"cause": f"a value of shape {np.shape(runs[0][0])} is no {size[0]}×{size[1]} grid"}
    far = lambda a, b: float(np.abs(a - b).max() / np.abs(b).max())
    found = []
    for way in range(len(every[0])):
        maps = [cam[way][0].reshape(array.shape) for cam in every]
        expected, terms = every[0][way][0], every[0][way][1]
        if vanishes(expected, terms):
            found.append({"vanishes": True, "cause": "the reference vanishes"})
            continue
        for order in (lambda t: t, lambda t: np.sort(t, axis=None)):
            runs_, wide = [order(t) for t in maps[: len(runs)]], order(maps[len(runs)]) if exact else None
            judged = judge(far, order(array), runs_, wide, [order(t) for t in maps[len(maps) - len(unsure) :]] if unsure else [], LAYER_TOLERANCE)
            found.append(judged if order(array) is array else judged | {"order": "cells are compared whatever their order"})
            if judged["pass"] or len(np.shape(runs[0][0])) == 4 and layout[1][2:] == size:  # a map is in its own order
                break
    return finding | min(found, key=lambda f: f.get("error", np.inf))


def image_finding(m, runs, exact, unsure):
    ours = m["array"].astype(np.float64)
    flat = lambda a: np.asarray(a).astype(np.float64).reshape(ours.shape)
    if float(np.abs(runs[0]).max()) < NOTHING:
        return {"vanishes": True, "cause": "the reference vanishes"}
    far = lambda a, b: float(np.linalg.norm((a - b).ravel()) / np.linalg.norm(b.ravel()))
    wide = None if exact is None else flat(exact)
    return judge(far, ours, [flat(r) for r in runs], wide, [flat(u) for u in unsure], IMAGE_TOLERANCE, twice=True)


def judge(far, ours, runs, exact, unsure, tolerance, twice=False):
    """Errors and verdict: against the framework in float32, and `twice` also against float64, where its own error is the yardstick."""
    finding = {"error": far(ours, runs[0])}
    good = finding["error"] <= tolerance
    if exact is not None:
        finding["error64"], finding["torch64"] = far(ours, exact), max(far(r, exact) for r in runs)
        if twice:
            good &= finding["error64"] <= max(TIMES_FLOAT32 * finding["torch64"], NOISE)
        if not good and unsure:
            finding["disturbed"] = max(far(u, exact) for u in unsure)
            finding["ill"] = finding["error64"] <= TIMES_FLOAT32 * finding["disturbed"]
    return finding | {"pass": bool(good)}
