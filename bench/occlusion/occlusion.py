"""Times occlusion by windows, by whole images, and by captum, one process after the other on the same network and image, in
rounds.

Every time is kept in bench/occlusion/runs, by model, stride and tool, and the table of BENCHMARKS.md is rewritten from what is
kept; so a long run can be made in pieces. whycam's time and peak memory are those of the whole process, captum's time that of the call.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = HERE / "runs"
sys.path.insert(0, str(HERE.parent / "speed"))
from speed import ENGINES, export, machine, tell  # noqa: E402

# Times as fast as whole images, and as captum for each patch.
TARGETS = {"vgg16": (4.5, 6), "resnet50": (1.5, 2.2)}
OTHERS = ["densenet121", "mobilenet_v2", "efficientnet_b0", "inception_v3", "squeezenet1_1", "shufflenet_v2_x1_0"]
# A class for which every network with random weights has a score.
CLASS, BATCH, SIDE = 281, 8, 224


def measured(command, env=None):
    """Seconds, peak memory in GB, and what a process printed."""
    start = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True, env=env)
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1e6, told


def image(work):
    """The image that all tools get: deterministic noise."""
    file = work / "x.npy"
    if not file.exists():
        np.save(file, np.random.default_rng(0).standard_normal((1, 3, SIDE, SIDE), np.float32))
    return file


def run_whycam(work, model, stride, engine, by):
    out = work / f"{model}-{stride}-{engine}-{by}"
    method = f"occlusion:size=35:stride={stride}:by={by}"
    seconds, memory, told = measured([
        ROOT / "target/release/whycam", "explain", image(work), "--model", export(work, model), "--engine", engine,
        "--method", method, "--target", f"class:{CLASS}", "--batch", BATCH, "--no-pictures", "--raw", "--json", "--force",
        "--out", out,
    ])
    record = json.loads(told.splitlines()[0])
    return {"seconds": [round(seconds, 2)], "memory": round(memory, 3), "patches": (-(-SIDE // stride)) ** 2,
            "version": f"{record['engine']['name']} {record['engine']['version']}", "machine": machine()}


def run_captum(work, model, stride):
    command = [sys.executable, HERE / "captum_occlusion.py", model, image(work), stride, BATCH]
    _, memory, told = measured(command)
    seconds, patches, version = told.strip().split(" ", 2)
    return {"seconds": [round(float(seconds), 2)], "memory": round(memory, 3), "patches": int(patches), "version": version, "machine": machine()}


def difference(work, model, stride, engine):
    """The largest difference of the maps by windows and by whole images, of the largest change; `None` before both are there."""
    found = [sorted((work / f"{model}-{stride}-{engine}-{by}").glob("*.npy")) for by in ("windows", "whole")]
    if not all(found):
        return None
    windows, whole = (np.load(files[0]).astype(np.float64) for files in found)
    return float(f"{np.abs(windows - whole).max() / np.abs(whole).max():.1e}")


def spread(numbers, digits):
    """The median, and the least and the most where there are several."""
    median = f"{statistics.median(numbers):.{digits}f}"
    return median if len(numbers) == 1 else f"{median} ({min(numbers):.{digits}f}–{max(numbers):.{digits}f})"


def line(model, stride, engine, runs):
    """A row of the table; `None` where nothing can be compared."""
    windows, whole, captum = (runs.get(tool) for tool in (f"{engine} windows", f"{engine} whole", "captum"))
    if windows is None:
        return None
    against_whole, against_captum = TARGETS.get(model, (None, None))

    def cell(run):
        return f"{spread(run['seconds'], 1)} s, {run['memory']:.2f} GB" if run else "not run"

    def ratio(run, target):
        if run is None:
            return ""
        # Of times next to each other, as far as both have as many rounds.
        faster = [of / by for of, by in zip(each(run), each(windows))]
        bound = "" if target is None else f"; ≥ {target}: {'met' if statistics.median(faster) >= target else '**missed**'}"
        return f"**{spread(faster, 2)}**{bound}"

    each = lambda run: [seconds / run["patches"] for seconds in run["seconds"]]
    cells = [
        model, ENGINES[engine], str(stride), cell(windows), cell(whole), ratio(whole, against_whole),
        f"{runs[f'{engine} difference']:.0e}" if whole else "",
        f"{spread([1e3 * seconds for seconds in each(captum)], 0)} ms, {captum['memory']:.2f} GB" if captum else "not run",
        ratio(captum, against_captum),
    ]
    return f"| {' | '.join(cells)} |"


def report():
    """The table of what is kept, in BENCHMARKS.md."""
    files = sorted(KEPT.glob("*.json"), key=lambda f: (f.stem.split("@")[0] not in TARGETS, f.stem))
    kept = [(*file.stem.split("@"), json.loads(file.read_text())) for file in files]
    # A patch costs captum the same at every stride.
    captum = {model: runs["captum"] for model, _, runs in kept if "captum" in runs}
    for model, _, runs in kept:
        if model in captum:
            runs.setdefault("captum", captum[model])
    lines = [line(model, int(stride), engine, runs) for model, stride, runs in kept for engine in ENGINES]
    timed = [run for _, _, runs in kept for run in runs.values() if isinstance(run, dict)]
    versions, machines = (dict.fromkeys(run[key] for run in timed) for key in ("version", "machine"))
    text = [
        "| model | engine | stride | windows | whole images | times as fast | difference | captum, a patch | times as fast |",
        "|" + "---|" * 9, *filter(None, lines), "",
        f"Medians, and least and most of several rounds; batches of {BATCH}, two threads where the machine has two. Machine: {'; '.join(machines)}. Versions: {'; '.join(versions)}.",
    ]
    tell("occlusion", text)


def main():
    parser = argparse.ArgumentParser(prog="bench/occlusion/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join([*TARGETS, *OTHERS])}; the first two when left out")
    parser.add_argument("--stride", type=int, default=8, help="pixels from one patch to the next (default 8; captum takes at most 35); times fall with its square")
    parser.add_argument("--tools", default="windows,whole,captum", help="which of windows, whole and captum to time, joined by commas")
    parser.add_argument("--engines", default=",".join(ENGINES), help="ort, rten, or both joined by a comma")
    parser.add_argument("--rounds", type=int, default=3, help="how often to time each, in turn (default 3)")
    parser.add_argument("--report", action="store_true", help="time nothing, rewrite the table from what is kept")
    work = Path(sys.argv[1])
    asked = parser.parse_args(sys.argv[2:])
    for model in [] if asked.report else asked.models or TARGETS:
        KEPT.mkdir(exist_ok=True)
        file = KEPT / f"{model}@{asked.stride}.json"
        tools = [(tool, engine) for tool in asked.tools.split(",") for engine in (asked.engines.split(",") if tool != "captum" else [None])]
        for number, (tool, engine) in itertools.product(range(asked.rounds), sorted(tools, key=lambda t: t[1] or "")):
            found = run_captum(work, model, asked.stride) if engine is None else run_whycam(work, model, asked.stride, engine, tool)
            runs = json.loads(file.read_text()) if file.exists() else {}
            print(f"{model}, stride {asked.stride}, {engine or ''} {tool}: {found['seconds'][0]:.1f} s, {found['memory']:.2f} GB", flush=True)
            name = " ".join(filter(None, [engine, tool]))
            if number > 0:
                found["seconds"] = runs[name]["seconds"] + found["seconds"]
                found["memory"] = max(runs[name]["memory"], found["memory"])
            runs[name] = found
            if engine and (far := difference(work, model, asked.stride, engine)) is not None:
                runs[f"{engine} difference"] = far
            file.write_text(json.dumps(runs, indent=1) + "\n")
    report()


if __name__ == "__main__":
    main()
