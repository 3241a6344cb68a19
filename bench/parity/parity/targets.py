"""Measures whycam's targets against PyTorch, and writes bench/parity/TARGETS.md.

Two-stage detectors, raw heads, image towers and recurrent classifiers with seeded random weights are exported by both exporters of
PyTorch, asked for one number each, explained by the `whycam` binary, and compared with PyTorch autograd of the same number. Rows that
are in bench/parity/rows/targets.jsonl are not measured again. Segmentation models and the raw heads of torchvision's detectors are rows
of PARITY.md.
"""

import argparse
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
import torch

from . import report, target_models
from .__main__ import apart
from .export import warm_up
from .rows import Rows
from .subject import ROOT, version

HEAD = """# Targets

What whycam explains beside class scores, against PyTorch autograd of the same number. Written by

    bench/parity/run targets

which makes, exports, explains and compares as `bench/parity/run` does ([PARITY.md](../../PARITY.md) says how; random weights, the
same tolerances; segmentation models and the raw heads of torchvision's detectors are there). The class scores of detectors with two
stages are those of one proposed box; proposals are held constant, which PyTorch does too. Nothing here is typed by hand.

"""


@dataclass
class Choice:
    """What `apart` needs to know."""

    engine: str
    work: Path
    limit: int = 900


def main():
    p = argparse.ArgumentParser(prog="bench/parity/run targets", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", metavar="TEXT", help="models whose name contains this")
    p.add_argument("--again", choices=["failed", "all"], help="measure rows that are there once more")
    p.add_argument("--work", type=Path, default=ROOT / "target" / "parity" / "targets", help="where models are [default: target/parity/targets]")
    args = p.parse_args()
    library = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime*")
    os.environ.setdefault("ORT_DYLIB_PATH", str(next(library, "")))
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warm_up(args.work)
    rows, files, measured_by = Rows("targets"), 0, version()
    for entry, engine in target_models.entries(args.work):
        for exporter in entry.exporters:
            files += 1
            row = rows.get(entry.source, entry.name, exporter)
            wanted = args.only in entry.name and (row is None or args.again == "all" or (args.again and not report.passed(row)))
            if wanted:
                start = time.monotonic()
                row = apart(entry, exporter, Choice(engine, args.work))
                target = "similar:" + Path(row["target"]).name if "npy" in row.get("target", "") else row.get("target")
                rows.put(row | {"target": target, "asked": engine, "whycam": measured_by})
                print(f"{entry.name:40} {time.monotonic() - start:6.1f} s  {report.summary(row)}", flush=True)
    write(list(rows), files)


def write(rows, files):
    text = HEAD + f"{len(rows)} of {files} files are measured. {report.measured_by(rows)}\n"
    by_engine = defaultdict(list)
    for row in rows:
        by_engine[row["asked"]].append(row | {"model": f"{row['model']} `{row.get('target', '')}`"})
    for engine, found in sorted(by_engine.items()):
        maps = [f for row in found for f in row["methods"]]
        good = sum(bool(f.get("pass")) for f in maps)
        text += f"## {engine}\n\n{good} of {len(maps)} maps of {len(found)} files are good.\n\n{report.failures(found)}\n{report.table(found)}\n"
    (ROOT / "bench" / "parity" / "TARGETS.md").write_text(text.rstrip() + "\n")
    print("wrote bench/parity/TARGETS.md")


if __name__ == "__main__":
    main()
