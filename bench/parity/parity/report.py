"""PARITY.md from rows."""

import re
from collections import Counter, defaultdict
from importlib.metadata import version

from .subject import ROOT

HEAD = """# Agreement with PyTorch

whycam's maps of models with seeded random weights, against PyTorch autograd. Written by

    bench/parity/run

which makes every model, exports it, explains it with the `whycam` binary and compares (`bench/parity/run --help`). Nothing here is
typed by hand: it is written from the rows in [bench/parity/rows](bench/parity/rows), which that command adds to. (Those of commit 4bb6ad9
were read back from the table as it was then: they lack the class and the seed.)

- **Models** have the architectures' own initialisation, with everything that it leaves constant disturbed, and batch norms that centre
  and scale what they get, with scales about 0.35 and biases about 0 ± 1. (With scales of 1 and no biases, the gradients of random deep
  networks are chaotic: PyTorch's float32 is then 1 to 3 % off its own float64.) Images are small where the architecture allows it; the side in pixels is in the table.
- **The class** is the one with the highest score, and the same on both sides. Segmentation: the class with the most cells, summed
  over these. Detectors are exported up to what they say of every box: the highest score of a class in a box, or of an anchor at
  the finest level where boxes are only proposed (R-CNN).
- **The layer** is whycam's automatic one, and a second one, half-way down, where there are class scores. PyTorch's is the call whose result equals, in every
  element, what the value holds in the ONNX file (as ONNX Runtime computes it); its module and function are in the table.
- **Grad-CAM** is compared before its ReLU, `max|a−b| / max|b|` ≤ {layer:g}. **Gradient** and **guided backpropagation** are compared
  by relative L2, ≤ {image:g}, and whycam's distance from PyTorch in float64 must be at most {twice} times that of PyTorch in float32,
  which is in brackets (or {noise:g}). PyTorch's own is the largest of its float32 runs where one alone is exceeded: summed in other
  orders, and from images that differ in their last bit.
- **Guided backpropagation's** reference has another rule at every call of a rectifier, whichever way it is written. Keras' rectifiers
  of one value count as one there, as they are one in the file: tf2onnx merges nodes that are equal.
- Where PyTorch's gradient contradicts finite differences in float64, and its batch norms are why (2.15's `batch_norm` sends wrong
  signals back at inference on a CPU for some orders of memory), the reference has batch norms from their formula; the row says so.
- A reference that vanishes (less than {vanishes:g} of what cancels in it) is drawn anew from another seed and not counted. So is one that hangs on rounding: where a map fails,
  PyTorch's is computed again with what ReLUs and max pools decide on disturbed by 8 ulp of the largest value there, and if that moves
  it as far, some decision flips and no float32 is right. After four seeds the row says so.

{versions}.
"""
MARK = {True: "pass", False: "**fail**"}


def passed(row):
    """Whether nothing in the row is wrong; a file that PyTorch cannot export is nobody's fault."""
    if "broken" in row or "vanished" in row:
        return False
    return all(f.get("pass", False) for f in row["methods"])


def cause(f):
    """Why a finding did not pass, in a line; nodes that cannot be differentiated by the names of their operators."""
    if "cause" not in f:
        return "differs: " + ", ".join(f"{k} {f[k]:.1e}" for k in ("error", "error64", "torch64", "disturbed") if k in f)
    text = " ".join(f["cause"].split())
    text = re.sub(r"(/\S+)+/\S+\.(onnx|npy)(, row \d+)?: ", "", text).removeprefix("inspect: ").removeprefix("error: ")
    if text.startswith("cannot differentiate"):
        found = re.findall(r'node "[^"]*" \((\w+)\): ([^"]*?)(?= node "| hint:|$)', text)
        roots = [(op, why) for op, why in found if not re.search("not known|computed from data", why)] or found
        return "cannot differentiate " + ", ".join(sorted({op if "no rule for this" in why else f"{op} ({why})" for op, why in roots}))
    return text[:200]


def summary(row):
    if "broken" in row:
        return "BROKEN " + row["broken"][:160]
    if "no_export" in row:
        return f"{row['exporter']}: no export"
    wrong = [f for f in row["methods"] if not f.get("pass")]
    told = f"{row['exporter']}: {len(row['methods']) - len(wrong)} good"
    told += "".join(f"; {f['method'].split(':')[0]}{'*' if f.get('named') else ''} {cause(f)}" for f in wrong)
    return told + "".join(f" {k.upper()} {row[k]}" for k in ("vanished", "ill") if k in row)


def write(engines, path, zoo):
    """`engines` has the rows of each; `zoo` counts the files of every source."""
    from . import measure

    names = ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime", "numpy")
    ran = {row["engine"] for found in engines.values() for row in found if "engine" in row}
    versions = ", ".join([*(f"{n} {version(n)}" for n in names), *(f"whycam with {name}" for name in sorted(ran))])
    text = HEAD.format(
        layer=measure.LAYER_TOLERANCE, image=measure.IMAGE_TOLERANCE, twice=measure.TIMES_FLOAT32, noise=measure.NOISE,
        vanishes=measure.VANISHES,
        versions="Made with " + versions,
    )  # fmt: skip
    for engine, found in engines.items():
        if found:
            text += f"\n## {engine}\n\n{counts(found, zoo)}\n{measured_by(found)}\n{failures(found)}\n{table(found)}"
    path.write_text(text)
    print(f"wrote {path.relative_to(ROOT)}")


def measured_by(found):
    """Which whycam measured how many of the rows."""
    by = Counter(row.get("whycam", "an unknown whycam") for row in found)
    return "Measured by " + ", ".join(f"{name} ({n} files)" for name, n in by.most_common()) + ".\n"


def counts(found, zoo):
    """A line per source."""
    total, good, models, whole, absent = Counter(), Counter(), Counter(), Counter(), Counter()
    for row in found:
        source = row["source"]
        models[source] += 1
        whole[source] += passed(row) and "no_export" not in row
        absent[source] += "no_export" in row
        total[source] += len(row["methods"])
        good[source] += sum(bool(f.get("pass")) for f in row["methods"])
    lines = ["| | files | measured | wholly good | maps | good | | exports that the exporter cannot make |", "|---|---|---|---|---|---|---|---|"]
    for s in zoo:
        share = f"{100 * good[s] / total[s]:.1f} %" if total[s] else "–"
        lines.append(f"| {s} | {zoo[s]} | {models[s]} | {whole[s]} | {total[s]} | {good[s]} | {share} | {absent[s]} |")
    return "\n".join(lines) + "\n"


def failures(found):
    """What failed, by cause, and what the exporters cannot export."""
    by = defaultdict(set)
    absent = []
    for row in found:
        name = f"{row['source']}/{row['model']} ({row['exporter']})"
        if "broken" in row:
            by[row["broken"][:200]].add(name)
        if "vanished" in row:
            by["every seed's reference vanishes"].add(name)
        if "no_export" in row:
            absent.append(f"- {name}: {row['no_export']}")
        for f in row["methods"]:
            if not f.get("pass") and not f.get("vanishes"):
                text = cause(f)
                if text.startswith("differs"):
                    text = "hangs on rounding, at every seed" if f.get("ill") else "differs"
                by[text].add(name)
    lines = []
    if by:
        lines = ["What failed:", ""]
        lines += [f"- {why}: {', '.join(sorted(where))}" for why, where in sorted(by.items(), key=lambda kv: -len(kv[1]))]
    if absent:
        lines += ["", "What the exporters cannot export:", "", *absent]
    return "\n".join(lines) + "\n"


def table(found):
    lines = ["| model | px | exporter, opset | method | layer | error | against float64 | |", "|---|---|---|---|---|---|---|---|"]
    for row in found:
        name = f"{row['source']}/{row['model']}"
        px = "×".join(map(str, dict.fromkeys(row["shape"][2:])))
        made = f"{row['exporter']} {row.get('opset', '')}".strip()
        if "broken" in row:
            lines.append(f"| {name} | {px} | {made} | | | | | **fail**: {row['broken'][:80].replace('|', '/')} |")
        if "no_export" in row:
            lines.append(f"| {name} | {px} | {made} | | | | | no export |")
        for f in row["methods"]:
            where = f.get("module", f.get("layer") or "")
            if "grid" in f:
                where += " " + "×".join(map(str, f["grid"]))
            error = f"{f['error']:.1e}" if "error" in f else ""
            wide = f"{f['error64']:.1e} ({f['torch64']:.1e})" if "error64" in f else ""
            mark = MARK[bool(f.get("pass"))]
            if f.get("ill"):
                mark = "hangs on rounding"
            elif "cause" in f:
                mark += ": " + cause(f)[:80].replace("|", "/")
            lines.append(f"| {name} | {px} | {made} | {f['method']} | {where} | {error} | {wide} | {mark} |")
    return "\n".join(lines) + "\n"
