"""Explains torchvision's quantisable networks as PyTorch quantises and exports them, and writes QUANTISED.md beside this package.

    bench/parity/run quantised

A network is calibrated on the photos of `examples/photos`, converted by `torch.ao.quantization`, and exported. PyTorch differentiates
no network of levels, so the reference runs the exported file node by node under PyTorch autograd, each node as ONNX defines it, in
float64, with roundings passed straight through (Bengio et al. 2013) and the levels that ONNX Runtime computes with no optimisation. In
float32 the same run rounds its own levels: how far that is off says what rounding makes.
"""

import argparse
import json
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import torchvision.models.quantization as quantisable
from onnx import helper, numpy_helper
from PIL import Image

from . import subject, weights
from .export import CannotExport, export
from .rows import FOLDER
from .siblings import far

# The network: its quantisation, the side of its image, further arguments.
NETWORKS = {
    "mobilenet_v2": ("qnnpack", 96, {}),
    "mobilenet_v3_large": ("qnnpack", 96, {}),
    "resnet18": ("fbgemm", 96, {}),
    "resnet50": ("fbgemm", 96, {}),
    "resnext101_32x8d": ("fbgemm", 96, {}),
    "googlenet": ("fbgemm", 96, {"init_weights": False}),
    "inception_v3": ("fbgemm", 128, {"init_weights": False}),
    "shufflenet_v2_x0_5": ("fbgemm", 96, {}),
}
EXPORTERS = {"legacy": 17, "dynamo": None}
METHODS = ("grad-cam:relu=off", "gradient")
TOLERANCE = 1e-3  # max|a−b| / max|b| of maps
AS_FAR = 2  # times as far from float64 as PyTorch in float32
ROWS = FOLDER / "quantised.json"


class Levels(torch.autograd.Function):
    """Levels as they were computed; their number's signal goes to what was rounded."""

    @staticmethod
    def forward(ctx, x, scale, levels):
        ctx.save_for_backward(scale)
        return levels

    @staticmethod
    def backward(ctx, g):
        return g / ctx.saved_tensors[0], None, None


def shaped(parameter, rank, axis):
    return parameter.reshape([-1 if i == axis else 1 for i in range(rank)]) if parameter.numel() > 1 else parameter.reshape([])


def pool(x, at, function, **more):
    top, left, bottom, right = at.get("pads", [0, 0, 0, 0])
    assert (top, left) == (bottom, right)
    return function(x, at["kernel_shape"], at["strides"], (top, left), ceil_mode=bool(at.get("ceil_mode")), **more)


def conv(at, x, w, b=None):
    top, left, bottom, right = at["pads"]
    assert (top, left) == (bottom, right)
    return F.conv2d(x, w, b, at["strides"], (top, left), at["dilations"], at["group"])


OPERATORS = {
    "Conv": conv,
    "Gemm": lambda at, x, w, b: x @ (w.T if at.get("transB") else w) + b,
    "Relu": lambda at, x: F.relu(x),
    "Clip": lambda at, x, low, high: x.clamp(low.item(), high.item()),
    "HardSwish": lambda at, x: x * (x / 6 + 0.5).clamp(0, 1),
    "HardSigmoid": lambda at, x: (x * at.get("alpha", 0.2) + at.get("beta", 0.5)).clamp(0, 1),
    "Add": lambda at, a, b: a + b,
    "Mul": lambda at, a, b: a * b,
    "Concat": lambda at, *x: torch.cat(x, at["axis"]),
    "Flatten": lambda at, x: x.flatten(at.get("axis", 1)),
    "GlobalAveragePool": lambda at, x: x.mean((2, 3), keepdim=True),
    "MaxPool": lambda at, x: pool(x, at, F.max_pool2d),
    "AveragePool": lambda at, x: pool(x, at, F.avg_pool2d, count_include_pad=bool(at.get("count_include_pad"))),
    "Cast": lambda at, x: x,
    "ConstantOfShape": lambda at, shape: torch.full(shape.long().tolist(), float(numpy_helper.to_array(at["value"]).item()) if "value" in at else 0.0, dtype=shape.dtype),
    "DequantizeLinear": lambda at, q, s, z: (q - shaped(z, q.ndim, at.get("axis", 1))) * shaped(s, q.ndim, at.get("axis", 1)),
}  # fmt: skip


def run(model, file, x, dtype):
    """The values of a file for an image, and the image; in float32 levels are rounded here, else they are ONNX Runtime's."""
    real = lambda array: torch.from_numpy(np.asarray(array)).to(dtype)
    image = real(x).requires_grad_()
    values = {t.name: real(numpy_helper.to_array(t)) for t in model.graph.initializer} | {model.graph.input[0].name: image}
    rounded = [n.output[0] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    levels = dict(zip(rounded, subject.values(file, {model.graph.input[0].name: x}, rounded), strict=True))
    for node in model.graph.node:
        at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        operands = [values[name] for name in node.input if name]
        if node.op_type == "Constant":
            made = real(numpy_helper.to_array(at["value"]))
        elif node.op_type == "QuantizeLinear":
            computed, (real_number, scale, zero) = levels[node.output[0]], operands
            limits = np.iinfo(computed.dtype)
            own = ((real_number.detach() / scale).round() + zero).clamp(limits.min, limits.max)
            made = Levels.apply(real_number, scale.reshape([]), own if dtype == torch.float32 else real(computed))
        else:
            made = OPERATORS[node.op_type](at, *operands)
        values[node.output[0]] = made
    return image, values


def quantised(name):
    """The network on levels, and its image."""
    engine, side, more = NETWORKS[name]
    net = getattr(quantisable, name)(weights=None, quantize=False, **more).eval()
    x = weights.image((1, 3, side, side), 0)
    net = weights.draw(net, 0, [x])
    photos = [Image.open(p).convert("RGB").resize((side, side)) for p in sorted((subject.ROOT / "examples" / "photos").glob("*.jpg"))]
    pixels = torch.stack([torch.from_numpy(np.asarray(photo, np.float32) / 255).permute(2, 0, 1) for photo in photos])
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 1, 3, 1, 1)
    torch.backends.quantized.engine = engine
    net.fuse_model(is_qat=False)
    net.qconfig = torch.ao.quantization.get_default_qconfig(engine)
    torch.ao.quantization.prepare(net, inplace=True)
    with torch.no_grad():
        net((pixels - mean) / std)
        net(x)
    return torch.ao.quantization.convert(net, inplace=True), x


def measure(name, exporter, args):
    torch.manual_seed(0)
    net, x = quantised(name)
    folder = args.work / "models"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.{exporter}.onnx"
    try:
        export(net, [x], exporter, file, EXPORTERS[exporter], ["image"])
    except CannotExport as error:
        return {"no_export": re.sub("\x1b[^m]*m", "", str(error))}
    model, x = onnx.load(file), x.numpy()
    of = {dtype: run(model, file, x, dtype) for dtype in (torch.float64, torch.float32)}
    scores = {dtype: values[model.graph.output[0].name] for dtype, (_, values) in of.items()}
    target = int(scores[torch.float64].argmax())
    record = subject.explain(file, {"image": x}, f"class:{target}", METHODS, ["auto"], args.engine, args.work / "explained")
    said = {m["method"]: m for m in record["maps"]}
    layer = said[METHODS[0]]["layer"]
    expected = {}
    for dtype, (image, values) in of.items():
        at_layer, at_image = torch.autograd.grad(scores[dtype][0, target], (values[layer], image))
        cam = (at_layer.mean((2, 3), keepdim=True) * values[layer]).sum(1)
        expected[dtype] = {METHODS[0]: cam[0].detach().numpy(), METHODS[1]: at_image[0].numpy()}
    wide, narrow = expected[torch.float64], expected[torch.float32]
    maps = {m: {"error": far(said[m]["array"], wide[m]), "torch": far(narrow[m], wide[m])} for m in METHODS}
    by = f"{subject.version()} with {record['engine']['name']} {record['engine']['version']}"
    return {
        "whycam": by,
        "layer": layer,
        "score": abs(said[METHODS[0]]["score"] - float(scores[torch.float64][0, target])),
        "levels": sum(n.op_type == "QuantizeLinear" for n in model.graph.node),
        "maps": maps,
    }  # fmt: skip


HEAD = """# Quantised networks of torchvision

`torchvision.models.quantization` with seeded random weights, calibrated on the photos of `examples/photos`, converted by
`torch.ao.quantization` and exported by both exporters of PyTorch. Written by

    bench/parity/run quantised

from `bench/parity/rows/quantised.json`; nothing here is typed by hand. A number is `max|a−b| / max|b|` of whycam's map and the
reference's, for the class with the highest score; at most {tolerance:g} is good, or {as_far} times what PyTorch in float32 is off, which is in
brackets and rounds levels itself: bold is not. (Sums of levels are whole numbers of steps, so that many are 0 or a tie, of which
rounding decides whether a ReLU passes them and what their level is.) The reference runs the exported file in float64
under PyTorch autograd, roundings passed straight through, with the levels that ONNX Runtime computes with no optimisation. Where whycam's
engine rounds a level otherwise, by one step, the maps differ by what that makes: a number that PyTorch misses by much in float32
proves little. The rules are pinned where no rounding comes near a tie, in golden/quantised. The last column is how far the score is.

Made with {versions}; {ours}.

| network | exporter | layers of levels | layer | method | error | score off by |
|---|---|---|---|---|---|---|
"""


def write(path):
    found = json.loads(ROWS.read_text())
    versions = ", ".join(f"{n} {version(n)}" for n in ("torch", "torchvision", "onnxruntime"))
    made = [(name, exporter, row) for name, rows in found.items() for exporter, row in rows.items()]
    ours = ", ".join(sorted({row["whycam"] for *_, row in made if "maps" in row}))
    text = HEAD.format(tolerance=TOLERANCE, as_far=AS_FAR, versions=versions, ours=ours)
    for name, exporter, row in made:
        for method, error in row.get("maps", {}).items():
            good = error["error"] <= max(TOLERANCE, AS_FAR * error["torch"])
            told = f"{error['error']:.1e}" if good else f"**{error['error']:.1e}**"
            told += f" ({error['torch']:.1e})"
            text += f"| {name} | {exporter} | {row['levels']} | `{row['layer']}` | `{method}` | {told} | {row['score']:.1e} |\n"
    text += "\nWhat PyTorch cannot export:\n\n"
    for name, exporter, row in made:
        if "no_export" in row:
            text += f"- {name} ({exporter}): {row['no_export'][:200]}\n"
    path.write_text(text)
    print(f"wrote {path.relative_to(subject.ROOT)}")


def main():
    p = argparse.ArgumentParser(prog="bench/parity/run quantised", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default="", help="networks whose name contains this")
    p.add_argument("--engine", default="rten", help="what whycam runs models with")
    p.add_argument("--work", type=Path, default=subject.ROOT / "target" / "parity" / "quantised", help="where models and maps are [default: target/parity/quantised]")
    args = p.parse_args()
    found = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    for name in NETWORKS:
        if args.only in name:
            found[name] = {exporter: measure(name, exporter, args) for exporter in EXPORTERS}
            print(name, found[name], flush=True)
            ROWS.write_text(json.dumps(found, indent=1) + "\n")
    write(subject.ROOT / "bench" / "parity" / "QUANTISED.md")


if __name__ == "__main__":
    main()
