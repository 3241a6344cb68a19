"""Times whycam and other tools in turn, keeps every round in bench/speed/rounds, and rewrites the tables of BENCHMARKS.md from
what is kept.

A set is what is timed together: a model, or one of the two rows with a set of their own. In every round each job of the
set runs once to warm up, then for a tenth of a second or once, and the median of these counts; odd rounds go through the
jobs backwards. Before each job nothing runs for a tenth of a second: the threads of what ran before wait actively for
more work, and would take a core from the next.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = HERE / "rounds"
EMBEDDED = ROOT / "crates/whycam/models/efficientnet_lite0_int8w.onnx"
PHOTO = sorted((ROOT / "examples/photos").glob("*.jpg"))[0]
MODELS = ["resnet50", "vgg16", "mobilenet_v2", "efficientnet_lite0", "vit_b_16"]
CNNS = [model for model in MODELS if not model.startswith("vit")]
ENGINES = {"ort": "ONNX Runtime", "rten": "rten"}
CAM, TOP5, BOTH, ABLATION = "grad-cam top1", "grad-cam top:5", "guided-grad-cam,grad-cam top1", "ablation-cam top1"


@dataclass
class Row:
    """A job, what it is compared with, and how: how many times as long it may take, or how many times as fast it must be."""

    name: str
    job: str
    against: str
    other: str
    models: list
    at_most: dict | None = None
    at_least: dict | None = None

    def target(self, model):
        return (self.at_most or self.at_least or {}).get(model)


FORWARD = {"resnet50": 1.05, "mobilenet_v2": 1.05, "efficientnet_lite0": 1.05, "vit_b_16": 1.05, "vgg16": 1.12}
FIVE = dict.fromkeys(MODELS, 1.10)


def against_forward(engine):
    bounds = {"vgg16": 2.5, "resnet50": 2.7} if engine == "ort" else {}
    return [
        Row("Grad-CAM", f"{engine} {CAM}", "forward", f"{engine} forward", MODELS, at_most=FORWARD),
        Row("Grad-CAM, top 5 at once", f"{engine} {TOP5}", "one Grad-CAM", f"{engine} {CAM}", MODELS, at_most=FIVE),
        Row("Guided Grad-CAM and Grad-CAM", f"{engine} {BOTH}", "forward", f"{engine} forward", CNNS, at_most=bounds),
    ]


def against_peers(engine):
    ort = engine == "ort"
    cam = f"{engine} {CAM}"
    peer = dict.fromkeys(["resnet50", "vgg16"], 4.4 if ort else 2.6)
    best = dict.fromkeys(MODELS, 1.3) | {"mobilenet_v2": 2.5} if ort else {}
    guided = dict.fromkeys(["resnet50", "vgg16"], 4) if ort else {}
    return [
        Row("Grad-CAM", cam, "pytorch-grad-cam", "pytorch-grad-cam grad-cam", MODELS, at_least=peer),
        Row("Grad-CAM", cam, "captum", "captum grad-cam", CNNS, at_least=best),
        Row("Grad-CAM", cam, "torchcam", "torchcam grad-cam", MODELS, at_least=best),
        Row("Guided Grad-CAM and Grad-CAM", f"{engine} {BOTH}", "pytorch-grad-cam, two calls",
            "pytorch-grad-cam guided-grad-cam,grad-cam", CNNS, at_least=guided),
    ]


def ablation(engine):
    bound = {"ablation": 100} if engine == "ort" else {}
    return Row("Ablation-CAM", f"{engine} {ABLATION}", "pytorch-grad-cam", "pytorch-grad-cam ablation-cam", ["ablation"], at_least=bound)


TABLES = {
    "What an explanation costs, against the same engine": [row for e in ENGINES for row in against_forward(e)],
    "Against other tools": [row for e in ENGINES for row in [*against_peers(e), ablation(e)]],
    "Process start to picture on disk, embedded model": [
        Row("cold start", f"whycam, {e}", "importing torch, torchvision, pytorch_grad_cam", "python", ["start"],
            at_least={"start": 20} if e == "rten" else {}) for e in ENGINES
    ],
}
ROWS = [row for rows in TABLES.values() for row in rows]
# Milliseconds of nothing before a job, and of what counts of it.
WAIT = 100
# Rounds that fit into four minutes on two cores; Ablation-CAM in Python takes two minutes.
ROUNDS = dict.fromkeys(MODELS, 15) | {"vgg16": 11, "ablation": 1, "start": 7}


class Server:
    """A process that does jobs when told to."""

    def __init__(self, *command):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.name = self.process.stdout.readline().strip()

    def milliseconds(self, job):
        print(job, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def __enter__(self):
        return self


def export(work, model):
    """The ONNX file of a model, made if it is not there."""
    if model == "efficientnet_lite0":
        return EMBEDDED
    file = work / f"{model}.onnx"
    if not file.exists():
        subprocess.run([sys.executable, HERE / "export.py", model, file], check=True)
    return file


def run_models(work, which, rounds):
    """Rounds of milliseconds by job, and what ran."""
    model = "resnet50" if which == "ablation" else which
    file = export(work, model)
    jobs = list(dict.fromkeys(job for row in ROWS if which in row.models for job in (row.other, row.job)))
    with (
        Server(ROOT / "target/release/whycam-bench", "ort", file) as ort,
        Server(ROOT / "target/release/whycam-bench", "rten", file) as rten,
        Server(sys.executable, HERE / "peers.py", model) as peers,
    ):
        servers = {"ort": ort, "rten": rten}

        def once(job):
            tool, rest = job.split(" ", 1)
            return servers[tool].milliseconds(rest) if tool in servers else peers.milliseconds(job)

        def warm(job):
            time.sleep(WAIT / 1e3)
            once(job)
            times = []
            while sum(times) < WAIT:
                times.append(once(job))
            return statistics.median(times)

        found = []
        for number in range(rounds):
            times = {}
            for job in jobs[:: -1 if number % 2 else 1]:
                times[job] = warm(job) if rounds > 1 else once(job)
            found.append({job: round(ms, 3) for job, ms in times.items()})
        return found, [server.name for server in (ort, rten, peers)]


def run_start(work, rounds):
    """As `run_models`, of whole processes."""
    whycam = [ROOT / "target/release/whycam", "explain", PHOTO, "--quiet", "--out", work / "start"]
    commands = {
        "whycam, rten": [*whycam, "--engine", "rten"],
        "whycam, ort": [*whycam, "--engine", "ort"],
        "python": [sys.executable, "-c", "import torch, torchvision, pytorch_grad_cam"],
    }

    def once(command):
        shutil.rmtree(work / "start", ignore_errors=True)
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - start) * 1e3

    for command in commands.values():
        once(command)
    return [{job: round(once(command), 3) for job, command in commands.items()} for _ in range(rounds)], []


def machine():
    """Processor, cores, memory, system."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    field = lambda name: next(iter(re.findall(rf"^{name}\s*: (.*)$", told, re.M)), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = f"{field('model name')} (family {field('cpu family')}, model {field('model')})"
    return f"{kind}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def spread(values, digits):
    """Median and quartiles."""
    text = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return f"{text} (once)"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{text} ({low:.{digits}f}–{high:.{digits}f})"


def line(row, which, rounds):
    """A row of a table."""
    times = [(r[row.job], r[row.other]) for r in rounds if row.job in r and row.other in r]
    if not times:
        return None
    ours, others = zip(*times)
    slower = row.at_most is not None
    ratios = [a / b if slower else b / a for a, b in times]
    digits = 2 if statistics.median(ratios) < 10 else 0
    target, sign = row.target(which), "≤" if slower else "≥"
    middle = statistics.median(ratios)
    met = "" if target is None else "met" if (middle <= target if slower else middle >= target) else "**missed**"
    model = {"ablation": "resnet50", "start": "efficientnet_lite0"}.get(which, which)
    engine = next((name for key, name in ENGINES.items() if key in re.split(r"[ ,]+", row.job)), "")
    bound = "" if target is None else f"{sign} {target}"
    cells = [model, engine, row.name, spread(ours, 1), row.against, spread(others, 1), f"**{spread(ratios, digits)}**", bound, met]
    return f"| {' | '.join(cells)} |"


def tell(name, lines):
    """Rewrites what stands between the markers of that name in BENCHMARKS.md."""
    file = ROOT / "BENCHMARKS.md"
    before, rest = file.read_text().split(f"<!-- {name} -->")
    after = rest.split(f"<!-- /{name} -->")[1]
    joined = "\n".join(lines)
    file.write_text(f"{before}<!-- {name} -->\n{joined}\n<!-- /{name} -->{after}")


def report():
    """The tables of what is kept, in BENCHMARKS.md."""
    kept = {which: json.loads(file.read_text()) for which in ROUNDS if (file := KEPT / f"{which}.json").exists()}
    text = []
    for title, rows in TABLES.items():
        lines = [line(row, which, kept[which]["rounds"]) for which in kept for row in rows if which in row.models]
        lines = [found for found in lines if found]
        if lines:
            unit = "times as fast" if rows[0].at_most is None else "ratio"
            text += [f"**{title}**", "", f"| model | engine | job | ms | against | its ms | {unit} | target | |", "|" + "---|" * 9, *lines, ""]
    counts = ", ".join(f"{which} {len(found['rounds'])}" for which, found in kept.items())
    tools = dict.fromkeys(name for found in kept.values() for name in found["tools"])
    text += [f"Medians with quartiles; rounds: {counts}."]
    text += [f"Machine: {machine}." for machine in dict.fromkeys(found["machine"] for found in kept.values())]
    text += [f"Versions: {'; '.join(tools)}."]
    tell("speed", text)


def main():
    parser = argparse.ArgumentParser(prog="bench/speed/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"what to time, of {', '.join(ROUNDS)}; everything when left out")
    parser.add_argument("--rounds", type=int, help="rounds of each set; those that fit into four minutes when left out")
    parser.add_argument("--report", action="store_true", help="time nothing, rewrite the tables from what is kept")
    work = Path(sys.argv[1])
    asked = parser.parse_args(sys.argv[2:])
    if unknown := set(asked.sets) - set(ROUNDS):
        parser.error(f"no set {', '.join(sorted(unknown))}")
    for which in [] if asked.report else asked.sets or ROUNDS:
        rounds = asked.rounds or ROUNDS[which]
        found, tools = run_start(work, rounds) if which == "start" else run_models(work, which, rounds)
        kept = {"machine": machine(), "tools": tools, "rounds": found}
        KEPT.mkdir(exist_ok=True)
        (KEPT / f"{which}.json").write_text(json.dumps(kept, indent=1) + "\n")
    report()


if __name__ == "__main__":
    main()
