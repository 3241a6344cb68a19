"""Measures whycam against PyTorch on a zoo of models, and writes PARITY.md.

Each model is built with seeded random weights, exported by both exporters of PyTorch, explained by the `whycam` binary, and
compared with PyTorch autograd. A row is a line of bench/parity/rows/ENGINE.jsonl; rows that are there are not measured again.
PARITY.md is written from them. Keras' models need a Python with tensorflow and tf2onnx, which KERAS_PYTHON names; without it they
are left out.
"""

import argparse
import gc
import multiprocessing
import os
import resource
import shutil
import time
import traceback
from collections import Counter
from pathlib import Path

import torch

from . import keras_side, report, subject, zoo
from .export import NAMES, warm_up
from .measure import measure
from .rows import Rows, engines


def main():
    p = argparse.ArgumentParser(prog="bench/parity/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", metavar="TEXT", help="models whose source/name contains one of these words, joined by commas")
    p.add_argument("--skip", default="", metavar="TEXT", help="but not those")
    p.add_argument("--exporter", choices=list(NAMES), action="append", help="only this one, may be repeated [default: one after another]")
    p.add_argument("--again", choices=["failed", "all"], help="measure rows that are there once more")
    p.add_argument("--engine", default="rten", help="what whycam runs models with")
    p.add_argument("--keep", action="store_true", help="keep the exported models, which are reused then")
    p.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="of a processor, for one model [default: %(default)s]")
    p.add_argument("--work", type=Path, default=subject.ROOT / "target" / "parity", help="where models are [default: target/parity]")
    p.add_argument("--list", action="store_true", help="list the models, measure nothing")
    p.add_argument("--report", action="store_true", help="write PARITY.md from the rows that are there, measure nothing")
    args = p.parse_args()
    words = lambda text: [w for w in text.split(",") if w]
    wanted = [
        e for e in zoo.entries()
        if (not args.only or any(w in e.id for w in words(args.only))) and not any(w in e.id for w in words(args.skip))
    ]  # fmt: skip
    wanted = [
        (e, exporter) for exporter in args.exporter or NAMES
        for e in wanted if exporter in e.exporters and (exporter != "tf2onnx" or keras_side.PYTHON)
    ]  # fmt: skip
    if args.list:
        print("\n".join(f"{e.id} {exporter}" for e, exporter in wanted))
        return
    rows = Rows(args.engine)
    if not args.report:
        args.work.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        warm_up(args.work)
        gc.freeze()  # what is loaded by now stays, and is copied to no process that only looks whether it is garbage
        measured_by = subject.version()
        for i, (entry, exporter) in enumerate(wanted):
            row = rows.get(entry.source, entry.name, exporter)
            if row and not (args.again == "all" or (args.again == "failed" and not report.passed(row))):
                continue
            start = time.monotonic()
            row = apart(entry, exporter, args)
            row["whycam"] = measured_by
            rows.put(row)
            if not args.keep:
                shutil.rmtree(args.work / "models" / entry.id, ignore_errors=True)
            print(f"{i + 1:3}/{len(wanted)} {entry.id:44} {time.monotonic() - start:4.0f} s  {report.summary(row)}", flush=True)
    report.write(engines(), subject.ROOT / "PARITY.md", Counter(e.source for e in zoo.entries() for x in NAMES if x in e.exporters))


def apart(entry, exporter, args):
    """The row of a model, measured in a process of its own: memory comes back, and a crash is a row.

    The limit is processor time, for that process and for each that it starts, so that a busy machine changes no row.
    """
    mine, theirs = multiprocessing.Pipe(duplex=False)

    def work():
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_CPU, (args.limit, args.limit))
        log = os.open(args.work / "last.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)  # exporters print whole graphs, from C++
        os.dup2(log, 2)
        try:
            theirs.send(measure(entry, exporter, args.engine, args.work / "models" / entry.id))
        except BaseException as error:
            traceback.print_exc()
            theirs.send({"broken": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})
        theirs.close()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    theirs.close()
    try:
        row = mine.recv()
    except EOFError:
        row = {"broken": f"the process died, or took more than {args.limit} s"}
    process.join()
    return {"model": entry.name, "source": entry.source, "shape": list(entry.shape), "exporter": exporter, "methods": []} | row


if __name__ == "__main__":
    main()
