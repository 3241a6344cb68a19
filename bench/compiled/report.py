"""Writes COMPILED.md: report.md with the tables of what prove.py and cost.py left: report.py WORK OUT"""

import json
import sys
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np

from engines import ENGINES, told
from models import names
from prove import IMAGE, METHODS, correlation

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "speed"))
from speed import machine  # noqa: E402


def table(head, lines):
    columns = head.split(" | ")
    return "\n".join([f"| {head} |", "|" + "---|" * len(columns), *[f"| {' | '.join(line)} |" for line in lines]])


def limits(row):
    """What scores and maps may differ by."""
    most = 1e-3 if row["engine"] in ("openvino", "web") else 1e-4
    return most, 1e-2 if row["method"] in IMAGE else most


def holds(row):
    scores, map = limits(row)
    return row["scores"] <= scores and row["map"] <= map and row["top1"] == row["photos"] and row["size"] <= 1.1


def holds_quantised(row):
    return row.get("same", 0) <= 1e-4 and row["correlation"] >= 0.99 and row["top1"] == row["photos"] and row["size"] <= 1.1


def e(value):
    return f"{value:.0e}"


def head(row):
    return [row["model"], row["method"], row["engine"]]


def failed(rows):
    return "\n".join(f"- {' '.join(head(row))}: {row['failed']}" for row in rows if "failed" in row) or "None failed."


def plain(rows):
    head_ = "model | method | engine | size | scores | map | same engine | correlation | top 1 | within"
    return table(head_, [
        [*head(row), f"{row['size']:.4f}", e(row["scores"]), e(row["map"]), e(row["same"]) if "same" in row else "",
         f"{row['correlation']:.5f}", f"{row['top1']} of {row['photos']}", "yes" if holds(row) else "**no**"]
        for row in rows if "map" in row and "own" not in row
    ])  # fmt: skip


def quantised(rows):
    head_ = "model | method | engine | size | model alone | scores | same engine | map | correlation | top 1 | within"
    return table(head_, [
        [*head(row), f"{row['size']:.4f}", e(row["alone"]), e(row["own"]), e(row["same"]) if "same" in row else "", e(row["map"]),
         f"{row['correlation']:.4f}", f"{row['top1']} of {row['photos']}", "yes" if holds_quantised(row) else "**no**"]
        for row in rows if "own" in row
    ])  # fmt: skip


def pairs(rows, work):
    """The correlation of maps for every two engines, of the worst photo."""
    lines = []
    for model, method in dict.fromkeys((row["model"], row["method"]) for row in rows if "own" in row):
        engines = [row["engine"] for row in rows if (row["model"], row["method"]) == (model, method) and "own" in row]
        maps = {engine: np.load(work / "rows" / f"{model}.{method}.{engine}.npy") for engine in engines}
        two = {pair: f"{correlation(*(maps[engine] for engine in pair)):.4f}" for pair in combinations(engines, 2)}
        lines += [[model, method, a, *(two.get((a, b), "") for b in ENGINES[1:])] for a in engines[:-1]]
    return table(" | ".join(["model", "method", "engine", *ENGINES[1:]]), lines)


def refusals(rows):
    lines = [[row["model"], row["method"], f"`{row['refused']}` ({row['op']})", f"{row['least']:.1g}"] for row in rows if "refused" in row]
    return table("model | method | refused at | least value that it reads", lines)


def contrasts(rows):
    lines = [[row["model"], f"{row['contrast']:.0f}"] for row in rows if "contrast" in row]
    return table("model | MWP by c-MWP", lines)


def cost(work):
    file = work / "cost.json"
    if not file.exists():
        return "Not measured."
    measured = json.loads(file.read_text())
    head_ = "model | method | copies | weights in them, MB | load, ms | load without, ms | run, ms | run without, ms"
    return table(head_, [[str(value) for value in line] for line in measured])


def unmeasured(name, method, rows):
    """The engines of which there is no row for a model and method that were not refused."""
    there = {row["engine"] for row in rows if (row["model"], row["method"]) == (name, method)}
    wanted = [engine for engine in ENGINES if engine != "ort-plain" or "qdq" in name]
    return [] if "refusal" in there else [engine for engine in wanted if engine not in there]


def main(work, out):
    work = Path(work).resolve()
    files = [work / "rows" / f"{n}.{m}.{e}.json" for n in names() for m in METHODS for e in [*ENGINES, "refusal", "contrast"]]
    rows = [json.loads(file.read_text()) for file in files if file.exists()]
    missing = [f"{n} {m} ({', '.join(left)})" for n in names() for m in METHODS if (left := unmeasured(n, m, rows))]
    packages = [f"{name} {version(name)}" for name in ["onnx", "onnxruntime", "openvino"]]
    browser = f"onnxruntime-web {told('web', work / 'web')} (WebAssembly, Node)"
    parts = {
        "versions": ", ".join([*packages, f"rten {told('rten', work)}", browser]), "machine": machine(),
        "plain": plain(rows), "quantised": quantised(rows), "pairs": pairs(rows, work), "refusals": refusals(rows), "contrasts": contrasts(rows),
        "failed": failed(rows), "cost": cost(work), "missing": ", ".join(missing) or "nothing",
    }  # fmt: skip
    text = (HERE / "report.md").read_text()
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    Path(out).write_text(text)
    held = [holds_quantised(row) if "own" in row else holds(row) for row in rows if "map" in row]
    print(f"{out}: {sum(held)} of {len(held)} rows within, {sum('failed' in row for row in rows)} failed")


if __name__ == "__main__":
    main(*sys.argv[1:3])
