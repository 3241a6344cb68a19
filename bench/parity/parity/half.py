"""Explains networks in half precision, weights and activations, beside their twins in float32, and writes HALF.md beside this package.

    bench/parity/run half

A file is converted by `onnxruntime.transformers.float16`. Its twin has the same weights, rounded to float16, in float32: whycam explains
half precision in float32, so nothing but the order of sums may part the two. How far the map is from that of the weights as they were
says what the conversion itself changes.
"""

import argparse
import copy
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from . import subject
from .export import export
from .rows import FOLDER
from .siblings import drawn, far

# The network, the side of its image, further arguments.
NETWORKS = {
    "resnet18": (96, {}),
    "mobilenet_v2": (96, {}),
    "densenet121": (96, {}),
    "vit_b_16": (64, {"image_size": 64}),
}
METHODS = ("grad-cam:relu=off", "gradient", "guided-backprop")
TOLERANCE = 1e-3  # max|a−b| / max|b| of maps, from the twin
ROWS = FOLDER / "half.json"


def constants(model):
    """The tensors that a file has, by the names of their values."""
    made = {n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}
    return made | {t.name: t for t in model.graph.initializer}


def rounded(model, halved):
    """A float32 model with the weights and constants of its converted file."""
    weights, twin = constants(halved), copy.deepcopy(model)
    for name, tensor in constants(twin).items():
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights[name]).astype(np.float32), tensor.name))
    return twin


def measure(name, args):
    side, more = NETWORKS[name]
    net, x = drawn(name, side, 0, **more)
    x = x.half().float()
    folder = args.work / "models"
    folder.mkdir(parents=True, exist_ok=True)
    files = {kind: folder / f"{name}.{kind}.onnx" for kind in ("float32", "float16", "twin")}
    export(copy.deepcopy(net), [x], "legacy", files["float32"], 17, ["image"])
    model = onnx.load(files["float32"])
    halved = convert_float_to_float16(copy.deepcopy(model))
    onnx.save(halved, files["float16"])
    onnx.save(rounded(model, halved), files["twin"])
    target = f"class:{int(net(x).argmax())}"
    said = {}
    for kind, file in files.items():
        record = subject.explain(file, {"image": x.numpy()}, target, METHODS, ["auto"], args.engine, args.work / "explained")
        said[kind] = {m["method"]: m["array"] for m in record["maps"]}
        by = f"{subject.version()} with {record['engine']['name']} {record['engine']['version']}"
    of = lambda method, other: far(said["float16"][method], said[other][method])
    maps = {method: {"twin": of(method, "twin"), "float32": of(method, "float32")} for method in METHODS}
    print(name, maps, flush=True)
    return {"whycam": by, "halves": sum(t.data_type == onnx.TensorProto.FLOAT16 for t in halved.graph.initializer), "maps": maps}


HEAD = """# Half precision

Networks of torchvision with seeded random weights, converted to float16 (weights and activations), beside their twins in float32.
Written by

    bench/parity/run half

from `bench/parity/rows/half.json`; nothing here is typed by hand. A number is `max|a−b| / max|b|` of two maps of one image and class, at
the automatic layer. The twin has the same rounded weights in float32, and at most {tolerance:g} from it is good: bold is not. The last
column is what rounding the weights changes by itself.

Made with {versions}; {ours}.

| network | weights in float16 | method | from the twin | from the weights as they were |
|---|---|---|---|---|
"""


def write(path):
    found = json.loads(ROWS.read_text())
    versions = ", ".join(f"{n} {version(n)}" for n in ("torch", "torchvision", "onnxruntime"))
    text = HEAD.format(tolerance=TOLERANCE, versions=versions, ours=", ".join(sorted({row["whycam"] for row in found.values()})))
    for name, row in found.items():
        for method, far_from in row["maps"].items():
            twin = f"{far_from['twin']:.1e}"
            twin = twin if far_from["twin"] <= TOLERANCE else f"**{twin}**"
            text += f"| {name} | {row['halves']} | `{method}` | {twin} | {far_from['float32']:.1e} |\n"
    path.write_text(text)
    print(f"wrote {path.relative_to(subject.ROOT)}")


def main():
    p = argparse.ArgumentParser(prog="bench/parity/run half", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", default="rten", help="what whycam runs models with")
    p.add_argument("--work", type=Path, default=subject.ROOT / "target" / "parity" / "half", help="where models and maps are [default: target/parity/half]")
    args = p.parse_args()
    ROWS.write_text(json.dumps({name: measure(name, args) for name in NETWORKS}, indent=1) + "\n")
    write(subject.ROOT / "bench" / "parity" / "HALF.md")


if __name__ == "__main__":
    main()
