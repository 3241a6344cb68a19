"""Explains a folder of JPEGs of about 500×375 and runs ONNX Runtime alone in turn; writes throughputs, ratios and memory
between the markers of BENCHMARKS.md."""

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "speed"))
from speed import machine, tell  # noqa: E402

BATCH = 8
JOBS = {"raw maps + JSON": ["--raw", "--no-pictures"], "the same and pictures": ["--raw"]}


def make_model(file):
    """torchvision's ResNet-50 with random weights, seed 0."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.resnet50().eval()
    torch.onnx.export(
        model, torch.zeros(1, 3, 224, 224), file, dynamo=False, opset_version=17,
        input_names=["image"], output_names=["scores"], dynamic_axes={"image": {0: "N"}, "scores": {0: "N"}},
    )


def make_photos(folder, count):
    """Crops of the example photos, no two alike."""
    folder.mkdir()
    chance = random.Random(0)
    photos = [Image.open(file).convert("RGB") for file in sorted(Path("examples/photos").glob("*.jpg"))]
    for i in range(count):
        photo = photos[i % len(photos)]
        width = min(photo.width, photo.height * 4 / 3) * chance.uniform(0.5, 1)
        left, top = chance.uniform(0, photo.width - width), chance.uniform(0, photo.height - width * 3 / 4)
        cut = photo.crop([int(v) for v in (left, top, left + width, top + width * 3 / 4)])
        cut.resize((498 + i % 5, 374 + i % 3), Image.BICUBIC).save(folder / f"{i:04}.jpg", quality=92)


# A process is counted, as its own, the memory of the one that started it: so that is one that has next to none.
START = """import os, sys, time
start = time.perf_counter()
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - start, usage.ru_maxrss / 1024)
sys.exit(status != 0)"""


def explain(whycam, model, photos, out, options):
    """Seconds, from start to end of the process, and its peak memory in MB."""
    shutil.rmtree(out, ignore_errors=True)
    args = ["explain", photos, "--model", model, "--engine", "ort", "--prep", "imagenet", "--batch", str(BATCH), "--quiet", "--out", out]
    run = subprocess.run([sys.executable, "-c", START, whycam, *map(str, args), *options], check=True, stdout=subprocess.PIPE, text=True)
    seconds, memory = run.stdout.split()
    return float(seconds), float(memory)


def main(whycam, work, count="1000", rounds="3"):
    work, count = Path(work), int(count)
    model, photos, few = work / "resnet50.onnx", work / f"photos-{count}", work / f"photos-{count // 10}"
    if not model.exists():
        make_model(model)
    for folder, size in [(photos, count), (few, count // 10)]:
        if not folder.exists():
            make_photos(folder, size)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    chance = np.random.default_rng(0)
    batches = [chance.standard_normal((BATCH, 3, 224, 224), np.float32) for _ in range(8)]
    alone, ratios = [], {job: [] for job in JOBS}
    for _ in range(int(rounds)):
        session.run(None, {"image": batches[0]})
        start = time.perf_counter()
        for i in range(count // BATCH):
            session.run(None, {"image": batches[i % len(batches)]})
        alone.append(count // BATCH * BATCH / (time.perf_counter() - start))
        for job, flags in JOBS.items():
            seconds, _ = explain(whycam, model, photos, work / "out", flags)
            ratios[job].append((count / seconds / alone[-1], count / seconds))
    told = lambda values, digits: f"{statistics.median(values):.{digits}f} ({', '.join(f'{v:.{digits}f}' for v in values)})"
    text = [
        "| job | images a second, median (all) | of ONNX Runtime alone, median (all) |", "|" + "---|" * 3,
        f"| ONNX Runtime {onnxruntime.__version__} alone, prepared tensors | {told(alone, 1)} | 1 |",
    ]
    for job, found in ratios.items():
        rates = told([rate for _, rate in found], 1)
        text.append(f"| whycam explain, {job} | {rates} | {told([ratio for ratio, _ in found], 3)} |")
    text.append("")
    for job, flags in JOBS.items():
        memory = [explain(whycam, model, folder, work / "out", flags)[1] for folder in (few, photos)]
        text.append(f"Peak memory, {job}: {memory[0]:.0f} MB at {count // 10}, {memory[1]:.0f} MB at {count}, ratio {memory[1] / memory[0]:.3f}.")
    text.append(f"{count} JPEGs, {os.cpu_count()} threads, {rounds} rounds in turn. Machine: {machine()}.")
    print("\n".join(text))
    tell("pipeline", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
