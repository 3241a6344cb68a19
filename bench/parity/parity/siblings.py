"""Compares every method that pytorch-grad-cam, captum or torchcam have too, and writes SIBLINGS.md beside this package.

    bench/parity/run siblings

The same network, layer, class and image on both sides; maps are raw: neither enlarged nor scaled. Findings are kept in
bench/parity/rows/siblings; what is there is not measured again.
"""

import argparse
import copy
import json
import os
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Callable

import captum.attr as captum
import numpy as np
import torch
import torchvision

from . import excitation, formulas, peers, subject, weights
from .export import export
from .reference import Reference, disturb, nearby

TOLERANCE = 1e-3  # max|a−b| / max|b|
TIMES_FLOAT32, ROUNDED = 2, 0.05  # the distance from float64, in the peer's own, where that is no more than so much
DRAWS, NOISES = 4, 4  # networks and images that are tried, and disturbances of each
NOTHING = 1e-30  # float32 can hardly hold it
SPREAD = (0.5, 2)  # of the squared distance of two means of noisy gradients, in what chance makes it
# The network, the side of its image, how many images, a layer near the scores, one half-way down, and the linear layer that CAM reads.
NETWORKS = {
    "resnet18": (96, 2, "layer4", "layer2", "fc"),
    "squeezenet1_1": (96, 2, "features.12", "features.7", None),
    "mobilenet_v2": (96, 2, "features.18", "features.6", "classifier.1"),
    "densenet121": (96, 2, "features.denseblock4", "features.denseblock2", None),
    "vgg16": (224, 1, "features.29", "features.15", None),
}
HERE = subject.ROOT / "bench" / "parity"
LAYERS = ("last", "middle")
PGC = "pytorch-grad-cam"


def drawn(name, side, seed, draw=0, **more):
    """A network with seeded random weights, and an image; both others at every `draw`."""
    torch.manual_seed(draw)
    image = lambda seed: weights.image((1, 3, side, side), seed)
    net = torchvision.models.get_model(name, weights=None, **more).eval()
    return weights.draw(net, draw, [image(draw)]), image(seed + 2 * draw)


class Case:
    """A network with seeded random weights, an image, the class with the highest score, and a layer."""

    def __init__(self, name, seed, layer, draw=0, noise=None):
        """`noise` seeds a disturbance of what ReLUs and max pools decide on."""
        self.made = name, seed, layer, draw
        side, _, last, middle, self.head = NETWORKS[name]
        self.seed, self.layer = seed, {"last": last, "middle": middle}[layer]
        self.net, self.x = drawn(name, side, seed, draw)
        with torch.no_grad():
            self.target = int(self.net(self.x).argmax())
        if noise is not None:
            disturb(self.net, noise)
        wide = peers.own(self).double()
        kept = {}
        wide.get_submodule(self.layer).register_forward_hook(lambda m, i, out: kept.update(a=out))
        score = wide(self.x.double().requires_grad_())[0, self.target]
        self.activation, self.signal = kept["a"][0].detach().numpy(), torch.autograd.grad(score, kept["a"])[0][0].numpy()

    def disturbed(self, noise):
        return Case(*self.made, noise)

    def at(self, x):
        other = copy.copy(self)
        other.x = x
        return other

    def rectified(self, rule):
        """The signal at the image when every rectifier obeys `rule`, whichever way it is written; in float64."""
        reference = Reference(copy.deepcopy(self.net), [self.x], lambda out: out[0, self.target])
        return reference.double().signals([], rule)[0][0]


@dataclass(frozen=True)
class Row:
    """What whycam is asked, who else says it and how, and where they depart from the paper: why, and what the paper says."""

    method: str
    peer: str
    says: Callable
    why: str = ""
    paper: Callable | None = None
    layers: tuple = LAYERS
    options: tuple = ()
    ours: Callable = lambda ours: ours  # whycam's map as what the peer defines
    free_sign: bool = False
    only: Callable = lambda name: True

    @property
    def key(self):
        return f"{self.method} {self.peer}" + "".join(f" {o}" for o in self.options)


of_layer = lambda formula: lambda case: formula(case.activation, case.signal)
rectified = lambda formula: lambda case: formulas.relu(formula(case.activation, case.signal))
EPSILON = "adds an ε to the denominator, which is not small beside it"
A_COPY = "divides a copy (`alpha[mask].div_(…)`), so that α stays g²; and it has g³ inside the sum over cells"
MODULES = "changes the rule of `nn.ReLU` modules alone: a ReLU6 or a function keeps the plain gradient"
OWN_SCALE = "scales every channel on its own, the authors all of them together; has no biases of clips and other activations"
BLACK_OUT = "sets a channel to its least value − 10⁷ where the layer's least value is not 0; the paper sets it to 0"
SCALED_BEFORE = "scales a channel to 0…1 before it is enlarged, the paper after"
ROUNDING = "computes in float32 as whycam does; in brackets is its own distance from float64"
RULE = lambda rule: lambda case: case.rectified(rule)
ROWS = [
    Row("grad-cam:relu=off", PGC, peers.grad_cam_library("GradCAM"), ROUNDING, of_layer(formulas.grad_cam)),
    Row("grad-cam:relu=off", "captum", peers.captum_layer(captum.LayerGradCam, lambda out: out[0]), ROUNDING, of_layer(formulas.grad_cam)),
    Row("grad-cam", "captum", peers.captum_layer(captum.LayerGradCam, lambda out: out[0], relu_attributions=True), ROUNDING, rectified(formulas.grad_cam)),
    Row("grad-cam", "torchcam", peers.torchcam_library("GradCAM"), ROUNDING, rectified(formulas.grad_cam)),
    Row("grad-cam:smooth=on", PGC, peers.grad_cam_library_smooth, layers=("last",)),
    Row("grad-cam++:relu=off", PGC, peers.grad_cam_library("GradCAMPlusPlus"), EPSILON, of_layer(formulas.grad_cam_plus_plus)),
    Row("grad-cam++", "torchcam", peers.torchcam_library("GradCAMpp"), A_COPY, rectified(formulas.grad_cam_plus_plus)),
    Row("xgrad-cam:relu=off", PGC, peers.grad_cam_library("XGradCAM"), EPSILON, of_layer(formulas.xgrad_cam)),
    Row("xgrad-cam", "torchcam", peers.torchcam_library("XGradCAM"), EPSILON, rectified(formulas.xgrad_cam)),
    Row("hires-cam:relu=off", PGC, peers.grad_cam_library("HiResCAM"), ROUNDING, of_layer(formulas.hires_cam)),
    Row("hires-cam:relu=off", "captum", peers.captum_layer(captum.LayerGradientXActivation, lambda out: out.sum(0)), ROUNDING, of_layer(formulas.hires_cam)),
    Row("layer-cam:relu=off", PGC, peers.grad_cam_library("LayerCAM"), ROUNDING, of_layer(formulas.layer_cam)),
    Row("layer-cam", "torchcam", peers.torchcam_library("LayerCAM"), ROUNDING, rectified(formulas.layer_cam)),
    Row("eigen-cam:centre=on", PGC, peers.grad_cam_library("EigenCAM"), ROUNDING, lambda c: formulas.eigen_cam(c.activation, True), free_sign=True),
    Row("cam", "torchcam", peers.torchcam_library("CAM", fc_layer=lambda c: c.head), layers=("last",), only=lambda name: NETWORKS[name][-1]),
    Row("ablation-cam", PGC, peers.grad_cam_library("AblationCAM", True), BLACK_OUT, lambda c: formulas.ablation_cam(peers.own(c), c.x, c.target, c.layer), ("last",)),
    Row("ablation-cam", "captum", peers.captum_ablation, ROUNDING, lambda c: formulas.ablation_cam(peers.own(c), c.x, c.target, c.layer), ("last",)),
    Row("score-cam", PGC, peers.grad_cam_library("ScoreCAM", True), layers=("last",), options=("--align", "corners")),
    Row("score-cam", "torchcam", peers.torchcam_library("ScoreCAM"), SCALED_BEFORE, lambda c: formulas.score_cam(peers.own(c), c.x, c.target, c.activation), ("last",)),
    Row("full-grad", PGC, peers.grad_cam_library_full_grad, OWN_SCALE, lambda c: formulas.full_grad(peers.own(c), c.x, c.target), ("last",)),
    Row("gradient", "captum", peers.captum_image(captum.Saliency, abs=False), ROUNDING, RULE("gradient"), ("last",)),
    Row("gradient-x-input", "captum", peers.captum_image(captum.InputXGradient), ROUNDING, lambda c: c.rectified("gradient") * c.x[0].numpy(), ("last",)),
    Row("guided-backprop", PGC, peers.grad_cam_library_guided, MODULES, RULE("guided_backprop"), ("last",)),
    Row("guided-backprop", "captum", peers.captum_image(captum.GuidedBackprop), MODULES, RULE("guided_backprop"), ("last",)),
    Row("deconvnet", "captum", peers.captum_image(captum.Deconvolution), MODULES, RULE("deconvnet"), ("last",)),
    Row("guided-grad-cam", "captum", peers.captum_guided_grad_cam, MODULES, formulas.guided_grad_cam),
    Row(
        "integrated-gradients", "captum",
        peers.captum_image(captum.IntegratedGradients, n_steps=peers.STEPS, method="riemann_middle", internal_batch_size=4),
        ROUNDING, lambda c: formulas.integrated_gradients(peers.own(c), c.x, c.target, peers.STEPS), ("last",),
    ),
    Row(
        f"occlusion:size={peers.PATCH}:stride={peers.STEP}", "captum", peers.captum_occlusion,
        ROUNDING, lambda c: peers.as_captum_occlusion(formulas.occlusion(peers.own(c), c.x, c.target, peers.PATCH, peers.STEP)), ("last",), ours=peers.as_captum_occlusion,
    ),
]  # fmt: skip
NOISY = [Row(f"smoothgrad:samples={peers.COPIES}", "captum", peers.captum_smoothgrad, layers=("last",))]


def far(ours, theirs, free_sign=False):
    ours, theirs = (np.asarray(t, dtype=np.float64).squeeze() for t in (ours, theirs))
    signs = (1, -1) if free_sign else (1,)
    scale = np.abs(theirs).max()
    return float(min(np.abs(ours - sign * theirs).max() for sign in signs) / scale) if scale else float(np.abs(ours).max() > 0)


def vanishes(array):
    """Whether a map is blank or constant, so that agreement with it says nothing."""
    return not np.isfinite(array).all() or float(np.abs(array).max()) < NOTHING or float(np.ptp(array)) == 0


def judge(row, case, ours):
    """How far whycam is from the library; where that is too far, how far both are from the formula in float64. What says nothing
    is `rejected`: a map that vanishes, or that a decision in the network changes which hangs on rounding."""
    theirs = row.says(case)
    if row in NOISY:
        chance = 2 * peers.variance_of_smoothgrad(case).sum() / peers.COPIES
        return {"spread": float(((ours - theirs) ** 2).sum() / chance)}
    if vanishes(ours) and vanishes(theirs):
        return {"rejected": "vanishes"}
    finding = {"error": far(ours, theirs, row.free_sign)}
    if good(finding) or not row.paper:
        return finding
    paper = row.paper(case)
    if vanishes(ours) and vanishes(paper):
        return {"rejected": "vanishes"}
    off = lambda array: far(array, paper, row.free_sign)
    finding |= {"paper": off(ours), "theirs": off(theirs)}
    if not good(finding):  # float32 also gives what it says of sums in other orders, and of images that differ in their last bit
        with torch.backends.mkldnn.flags(enabled=False):
            finding["theirs"] = max(finding["theirs"], off(row.says(case)))
        finding["theirs"] = max(finding["theirs"], *(off(row.says(case.at(x))) for x in nearby(case.x)))
    if not good(finding):
        for noise in range(NOISES):
            finding["disturbed"] = max(finding.get("disturbed", 0), off(row.paper(case.disturbed(noise))))
            if finding["paper"] <= TIMES_FLOAT32 * finding["disturbed"]:
                return finding | {"rejected": "hangs on rounding"}
    return finding


def measure(name, seed, layer, args):
    """Adds to the file of that network, image and layer what is missing. What is rejected is drawn anew."""
    path = args.rows / f"{name}.{seed}.{layer}.json"
    found = json.loads(path.read_text()) if path.exists() and not args.again else {}
    found = {key: finding for key, finding in found.items() if not 0 < len(finding.get("rejected", [])) < DRAWS}  # begun
    rows = [row for row in ROWS + NOISY if layer in row.layers and row.only(name) and row.key not in found]
    rows = [row for row in rows if row.method.split(":")[0] not in args.skip.split(",")]
    for draw in range(DRAWS):
        if not rows:
            return
        case = Case(name, seed, layer, draw)
        file = args.work / "models" / f"{name}.{draw}.onnx"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            export(copy.deepcopy(case.net), [case.x], "legacy", file, 17, ["image"])
        said, by = {}, ""
        for options in dict.fromkeys(row.options for row in rows):
            methods = list(dict.fromkeys(row.method for row in rows if row.options == options))
            inputs, target = {"image": case.x.numpy()}, f"class:{case.target}"
            record = subject.explain(file, inputs, target, methods, [case.layer], args.engine, args.work / "explained" / name, options)
            by = f"{subject.version()} with {record['engine']['name']} {record['engine']['version']}"
            said |= {(m["method"], options): m["array"] for m in record["maps"]}
        again = []
        for row in rows:
            finding = judge(row, case, row.ours(said[row.method, row.options].squeeze())) | {"whycam": by}
            rejected = found.get(row.key, {}).get("rejected", [])
            if "rejected" in finding:
                finding["rejected"] = [*rejected, finding["rejected"]]
                again.append(row)
            elif rejected:
                finding["redrawn"] = rejected
            found[row.key] = finding
            path.write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name} {seed} {case.layer} {row.key}: {finding}{'' if good(finding) else ' DIFFERS'}", flush=True)
        rows = again


def good(finding):
    if "rejected" in finding:
        return False
    if "spread" in finding:
        return SPREAD[0] <= finding["spread"] <= SPREAD[1]
    paper, theirs = finding.get("paper", np.inf), finding.get("theirs", 0)
    return min(finding["error"], paper) <= TOLERANCE or (theirs <= ROUNDED and paper <= TIMES_FLOAT32 * theirs)


HEAD = """# Agreement with pytorch-grad-cam, captum and torchcam

Every method that one of them has too, on torchvision's networks with seeded random weights. Written by

    bench/parity/run siblings

from `bench/parity/rows/siblings`. Nothing here is typed by hand. Both sides have the same network (whycam its ONNX file), layer, class and image; maps are compared raw, neither
enlarged nor scaled: `max|a−b| / max|b|`, the largest of the images and, for methods that read a layer, of two layers: {layers}. At most {tolerance:g} is good.

- Where a library departs from the paper by more than that, the cell has its distance, the distance from the paper's formula (in
  float64, `bench/parity/parity/formulas.py`), and a letter.
- Where rounding decides, whycam's distance from float64 must be at most {twice} times the library's own, which is in brackets: the
  largest of its float32 runs, summed in other orders and from images that differ in their last bit; and no more than {rounded:g}.
- A map that vanishes proves nothing, and neither does one that a disturbance of what ReLUs and max pools decide on by 8 ulp changes
  by half as much as whycam is off: network and image are drawn anew then, up to {draws} times, and listed below.
- captum spreads what a patch costs over all pixels under it; whycam's map, which has it at the patch's centre, is spread alike before the two are compared.
- SmoothGrad's noise is drawn apart: the cell has the squared distance of the two means of {copies} copies, in units of what chance makes it ({low:g} to {high:g} is good).
- pytorch-grad-cam enlarges Score-CAM's masks corner to corner (`--align corners`), torchcam by half pixels; a singular vector's sign is free.
- None of the three has RISE. None has MWP and c-MWP either, whose formulas are below.

{versions}.

"""


def cell(row, findings, letters):
    """What the table says of one network; `letters` has the reasons that were given so far."""
    if not findings:
        return "–"
    if "spread" in findings[0]:
        values = [f["spread"] for f in findings]
        return f"{min(values):.2f} to {max(values):.2f}"
    most = lambda what: max((f[what] for f in findings if what in f), default=None)
    if most("error") is None or any("rejected" in f and "error" not in f for f in findings):
        return "vanishes"
    if most("paper") is None:
        return f"{most('error'):.1e}"
    rounded = most("paper") > TOLERANCE  # where both are away from float64, rounding is what parts them
    why = ROUNDING if rounded else row.why
    letter = letters.setdefault((row.peer, why), "abcdefghijklm"[len(letters)])
    own = f" [{most('theirs'):.1e}]" if why == ROUNDING else ""
    return f"{most('error'):.1e}; paper {most('paper'):.1e}{own} ({letter})"


def write(folder, path):
    networks = list(NETWORKS)
    found = {name: [json.loads(p.read_text()) for p in sorted(folder.glob(f"{name}.*.json"))] for name in networks}
    ours = {finding["whycam"] for rows in found.values() for row in rows for finding in row.values()}
    versions = ", ".join(f"{n} {version(n)}" for n in ("grad-cam", "captum", "torchcam", "torch", "torchvision"))
    text = HEAD.format(
        tolerance=TOLERANCE, twice=TIMES_FLOAT32, rounded=ROUNDED, draws=DRAWS, copies=peers.COPIES, low=SPREAD[0], high=SPREAD[1],
        layers="; ".join(f"{name} ({count} of {side}×{side}) `{last}`, `{middle}`" for name, (side, count, last, middle, _) in NETWORKS.items()),
        versions=f"Made with {versions}; {', '.join(sorted(ours))}",
    )  # fmt: skip
    letters, redrawn = {}, Counter()
    lines = ["| method | library | " + " | ".join(networks) + " |", "|---|---|" + "---|" * len(networks)]
    for row in ROWS + NOISY:
        method, cells = f"`{' '.join((row.method, *row.options))}`", []
        for name in networks:
            findings = [one[row.key] for one in found[name] if row.key in one]
            said = cell(row, findings, letters)
            cells.append(said if all(map(good, findings)) else f"**{said}**")
            for finding in findings:
                redrawn.update(f"{method} of {row.peer}, {name}: {why}" for why in finding.get("redrawn") or finding.get("rejected") or [])
        lines.append(f"| {method} | {row.peer} | " + " | ".join(cells) + " |")
    text += "\n".join(lines) + "\n\n"
    text += "".join(f"- ({letter}) {peer} {why}.\n" for (peer, why), letter in letters.items())
    if redrawn:
        text += "\nDrawn anew:\n\n" + "".join(f"- {line}{f', {n} times' if n > 1 else ''}\n" for line, n in redrawn.items())
    every = [one[row.key] for rows in found.values() for one in rows for row in ROWS + NOISY if row.key in one]
    planned = sum(count * sum(layer in row.layers and bool(row.only(name)) for row in ROWS + NOISY for layer in LAYERS) for name, (_, count, *_) in NETWORKS.items())
    text += f"\n{sum(map(good, every))} of {len(every)} comparisons are good; bold is not. {planned} are planned, and – is not measured, or has no meaning there.\n"
    text += excitation.table(folder, TOLERANCE)
    path.write_text(text)
    print(f"wrote {path.relative_to(subject.ROOT)}")


def main():
    p = argparse.ArgumentParser(prog="bench/parity/run siblings", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", metavar="NETWORK", help="this network")
    p.add_argument("--skip", default="", metavar="METHODS", help="leave these out, which run a network many hundred times")
    p.add_argument("--again", action="store_true", help="measure again what is there")
    p.add_argument("--report", action="store_true", help="write the table from what is there, measure nothing")
    p.add_argument("--engine", default="rten", help="what whycam runs models with")
    p.add_argument("--work", type=Path, default=subject.ROOT / "target" / "parity" / "siblings", help="where models and maps are [default: target/parity/siblings]")
    p.add_argument("--rows", type=Path, default=HERE / "rows" / "siblings", help="where findings are [default: bench/parity/rows/siblings]")
    args = p.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in [] if args.report else NETWORKS:
        for seed in range(NETWORKS[name][1]):
            for layer in LAYERS:
                if args.only in ("", name):
                    measure(name, seed, layer, args)
    for name in [] if args.report else excitation.NETWORKS:
        if args.only in ("", name):
            excitation.measure(name, drawn, far, args)
    write(args.rows, HERE / "SIBLINGS.md")


if __name__ == "__main__":
    main()
