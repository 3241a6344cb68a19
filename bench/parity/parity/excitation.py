"""MWP and c-MWP of torchvision's networks, against the formulas of Zhang et al. 2016 as golden/nets/make_excitation.py has them, in float64."""

import copy
import json
import sys

import torch

from . import subject
from .export import export

sys.path.insert(0, str(subject.ROOT / "golden" / "nets"))
import make_excitation  # noqa: E402

# The network, the side of its image, the layer one stage below the last, further arguments.
NETWORKS = {
    "squeezenet1_1": (96, "features.7", {}),
    "googlenet": (96, "maxpool3", {"init_weights": False}),
    "resnet50": (96, "layer3", {}),
    "vgg16": (224, "features.23", {}),
}
METHODS = ("mwp", "c-mwp:relu=off")
IMAGES = 2


def measure(name, drawn, far, args):
    """Adds what is missing to the file of that network."""
    path = args.rows / f"mwp.{name}.json"
    side, layer, more = NETWORKS[name]
    if path.exists() and not args.again:
        return
    found = {method: [] for method in METHODS}
    for seed in range(IMAGES):
        net, x = drawn(name, side, seed, **more)
        with torch.no_grad():
            target = int(net(x).argmax())
        file = args.work / "models" / f"mwp.{name}.onnx"
        file.parent.mkdir(parents=True, exist_ok=True)
        export(copy.deepcopy(net), [x], "legacy", file, 17, ["image"])
        folder = args.work / "explained" / f"mwp.{name}"
        record = subject.explain(file, {"image": x.numpy()}, f"class:{target}", METHODS, [layer], args.engine, folder)
        _, maps = make_excitation.maps(net.double(), x.double(), [layer], target)
        for method, ours, paper in zip(METHODS, record["maps"], maps[0], strict=True):
            found[method].append(far(ours["array"], paper[0].detach().numpy()))
            print(f"{name} {seed} {layer} {method}: {found[method][-1]:.1e}, adds up to {float(paper.sum()):.4f}", flush=True)
    path.write_text(json.dumps(found, indent=1) + "\n")


def table(folder, tolerance):
    names = list(NETWORKS)
    found = {name: json.loads(path.read_text()) for name in names if (path := folder / f"mwp.{name}.json").exists()}
    heads = (f"{name} `{layer}`" for name, (_, layer, _) in NETWORKS.items())
    lines = ["", f"Excitation backprop, {IMAGES} images, against the formulas of Zhang et al. 2016 in float64 (`golden/nets/make_excitation.py`):", ""]
    lines += ["| method | " + " | ".join(heads) + " |", "|---|" + "---|" * len(names)]
    for method in METHODS:
        cells = [f"{max(found[name][method]):.1e}" if name in found else "–" for name in names]
        cells = [f"**{cell}**" if cell != "–" and float(cell) > tolerance else cell for cell in cells]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
