#!/usr/bin/env python3
"""Makes golden/quantised/: two small networks as onnxruntime's own tools quantise them, with explanations by PyTorch autograd.

    python3 -m venv venv && venv/bin/pip install -r golden/nets/requirements.txt
    venv/bin/python golden/quantised/make.py

A quantised file is run here node by node in float64, every operator on levels as what it approximates: its operands
de-quantised, the operator on real numbers, its result quantised. Rounding is passed straight through (Bengio et al. 2013)
where a level lies strictly inside its range, if that stands for a ReLU; other ranges cut nothing off, and one that follows
the data is held constant.
"""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

HERE = Path(__file__).parent
LEVELS = {onnx.TensorProto.UINT8: (0, 255), onnx.TensorProto.INT8: (-128, 127), np.uint8: (0, 255), np.int8: (-128, 127)}
# A level's number may be off by this in an engine that computes in float32: 255 levels of 24 bits, summed.
NEAR = 1e-4


class Plain(nn.Module):
    """Convolutions, rectifiers, a max pool, a dense layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.a(x)), 2)
        return self.c(F.adaptive_avg_pool2d(F.relu(self.b(x)), 1).flatten(1))


class Mixed(nn.Module):
    """What else has an operator on levels: a sum, a product, a concatenation, a mean pool, leaky and logistic activations, a
    matrix product without a bias."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.d, self.w = nn.Conv2d(12, 6, 3, padding=1), nn.Parameter(torch.zeros(6, 5))

    def forward(self, x):
        x = F.leaky_relu(self.a(x), 0.1)
        x = x + self.b(x)
        x = F.avg_pool2d(x * torch.sigmoid(self.c(x)), 3)
        x = F.relu(self.d(torch.cat([x, self.b(x)], 1)))
        return F.adaptive_avg_pool2d(x, 1).flatten(1) @ self.w


class Levels(torch.autograd.Function):
    """The number of the level, at first unrounded; how near to a tie of rounding any came is remembered."""

    nearest = 1.0

    @staticmethod
    def forward(ctx, x, scale, zero, low, high, cuts):
        exact = x / scale
        Levels.nearest = min(Levels.nearest, float(((exact - exact.floor()) - 0.5).abs().min()))
        q = (exact.round() + zero).clamp(low, high)
        ctx.save_for_backward(scale, ((q > low) & (q < high)) | (not cuts))
        return q

    @staticmethod
    def backward(ctx, g):
        scale, inside = ctx.saved_tensors
        return g * inside / scale, None, None, None, None, None


def along(parameter, rank, axis):
    return parameter.reshape([-1 if i == axis else 1 for i in range(rank)]) if parameter.numel() > 1 else parameter.reshape([])


class Run:
    """The values of a quantised network for one batch."""

    def __init__(self, model, x):
        graph = model.graph
        self.types = {t.name: t.data_type for t in graph.initializer}
        self.values = {t.name: torch.from_numpy(numpy_helper.to_array(t).astype(np.float64)) for t in graph.initializer}
        for name, value in list(self.values.items()):
            if self.types[name] == onnx.TensorProto.INT64:
                self.values[name] = value.long()
        self.image = x.detach().clone().requires_grad_()
        self.values[graph.input[0].name] = self.image
        self.layer = None
        self.makers = {name: node.op_type for node in graph.node for name in node.output}
        for node in graph.node:
            self.node(node)
        self.scores = self.values[graph.output[0].name]

    def real(self, q, scale, zero, axis=0):
        """What levels stand for: one value for all who ask, so that its signal is the sum of theirs."""
        name = f"{q.removesuffix('_quantized')}_DequantizeLinear_Output"
        if name not in self.values:
            levels, scale, zero = self.values[q], self.values[scale], self.values[zero] if zero else torch.zeros([])
            rank = levels.ndim
            self.values[name] = (levels - along(zero, rank, axis)) * along(scale, rank, axis)
        return name, self.values[name]

    def levels(self, y, scale, zero, of_sum=False):
        """Levels of a sum that is cut off at 0 are those of a ReLU; other ranges hold what there was, ends and all."""
        low, high = LEVELS[self.types[zero]]
        is_relu = of_sum and bool((self.values[zero] == low).all())
        return Levels.apply(y, self.values[scale], self.values[zero], low, high, is_relu)

    def bias(self, q, a, b):
        return self.values[q] * self.values[a] * self.values[b] if q else None

    def conv(self, node, x, w, b=None):
        at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        top, left, bottom, right = at.get("pads", [0, 0, 0, 0])
        assert (top, left) == (bottom, right)
        return F.conv2d(x, w, b, at.get("strides", 1), (top, left), at.get("dilations", 1), at.get("group", 1))

    def node(self, node):
        at = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        names = [name for name in node.input]
        v = [self.values.get(name) for name in names]
        kind, out = node.op_type, node.output[0]
        pool = lambda f, x: f(x, at["kernel_shape"], at["strides"], at.get("pads", [0])[0])
        if kind in ("GlobalAveragePool", "QLinearGlobalAveragePool"):
            self.layer = names[0] if kind == "GlobalAveragePool" else self.real(*names[:3])[0]
        if kind == "QuantizeLinear":
            y = self.levels(v[0], names[1], names[2], self.makers.get(names[0]) in ("Conv", "MatMul", "Gemm", "Add"))
        elif kind == "DequantizeLinear":
            rank, axis = v[0].ndim, at.get("axis", 1)
            zero = v[2] if len(v) > 2 else torch.zeros([])
            y = (v[0] - along(zero, rank, axis)) * along(v[1], rank, axis)
        elif kind == "QLinearConv":
            b = self.bias(names[8], names[1], names[4]) if len(v) > 8 else None
            y = self.conv(node, self.real(*names[:3])[1], self.real(*names[3:6], axis=0)[1], b)
            y = self.levels(y, names[6], names[7], True)
        elif kind == "QLinearMatMul":
            y = self.levels(self.real(*names[:3])[1] @ self.real(*names[3:6], axis=1)[1], names[6], names[7], True)
        elif kind == "QGemm":
            a, b = self.real(*names[:3])[1], self.real(*names[3:6], axis=0 if at.get("transB") else 1)[1]
            y = at.get("alpha", 1.0) * (a @ (b.T if at.get("transB") else b) + self.bias(names[6], names[1], names[4]))
            y = self.levels(y, names[7], names[8], True) if len(v) > 7 else y
        elif kind in ("QLinearAdd", "QLinearMul"):
            a, b = self.real(*names[:3])[1], self.real(*names[3:6])[1]
            y = self.levels(a + b if kind == "QLinearAdd" else a * b, names[6], names[7], kind == "QLinearAdd")
        elif kind == "QLinearConcat":
            parts = [self.real(*names[i : i + 3])[1] for i in range(2, len(names), 3)]
            y = self.levels(torch.cat(parts, at["axis"]), names[0], names[1])
        elif kind in ("QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool"):
            x = self.real(*names[:3])[1]
            y = {
                "QLinearSigmoid": torch.sigmoid,
                "QLinearLeakyRelu": lambda x: F.leaky_relu(x, at.get("alpha", 0.01)),
                "QLinearAveragePool": lambda x: pool(F.avg_pool2d, x),
                "QLinearGlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
            }[kind](x)
            y = self.levels(y, names[3], names[4])
        elif kind == "DynamicQuantizeLinear":
            low, high = v[0].detach().min().clamp(max=0), v[0].detach().max().clamp(min=0)
            scale = (high - low) / 255
            zero = (-low / scale).round().clamp(0, 255)
            y = Levels.apply(v[0], scale, zero, 0, 255, False)
            self.values[node.output[1]], self.values[node.output[2]] = scale, zero
        elif kind == "ConvInteger":
            y = self.conv(node, v[0] - v[2], v[1] - along(v[3], 4, 0))
        elif kind == "MatMulInteger":
            y = (v[0] - v[2]) @ (v[1] - v[3])
        elif kind in ("Cast", "Identity"):
            y = v[0]
        elif kind == "MaxPool":
            y = pool(F.max_pool2d, v[0])
        elif kind == "AveragePool":
            y = pool(F.avg_pool2d, v[0])
        elif kind == "Conv":
            y = self.conv(node, *v)
        elif kind == "Gemm":
            y = v[0] @ (v[1].T if at.get("transB") else v[1]) + v[2]
        elif kind == "Flatten":
            y = v[0].flatten(1)
        elif kind == "Reshape":
            y = v[0].reshape(v[1].long().tolist())
        elif kind == "Concat":
            y = torch.cat(v, at["axis"])
        else:
            functions = {
                "Add": torch.add,
                "Mul": torch.mul,
                "MatMul": torch.matmul,
                "Relu": F.relu,
                "Sigmoid": torch.sigmoid,
                "LeakyRelu": lambda x: F.leaky_relu(x, at.get("alpha", 0.01)),
                "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
            }
            y = functions[kind](*v)
        self.values[out] = y


class Photos(CalibrationDataReader):
    def __init__(self, name, images):
        self.feeds = iter([{name: image[None].numpy()} for image in images])

    def get_next(self):
        return next(self.feeds, None)


def quantised(source, to, name, images):
    """The file `name` says how: format, type of activations, of weights, and `channel` for a scale per channel."""
    form, activations, weights, *channel = name.split("_")
    # onnxruntime sums products of u8 and s8 in 16 bits where a processor has nothing better: 7 bits do not saturate them.
    reduced = weights == "s8"
    kinds = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    if form == "dynamic":
        quantize_dynamic(source, to, per_channel=bool(channel), weight_type=kinds[weights], reduce_range=reduced)
        return
    quantize_static(
        source,
        to,
        Photos("x", images),
        quant_format={"qdq": QuantFormat.QDQ, "qoperator": QuantFormat.QOperator}[form],
        per_channel=bool(channel),
        activation_type=kinds[activations],
        weight_type=kinds[weights],
        reduce_range=reduced,
    )


FILES = [
    "qdq_u8_u8",
    "qdq_s8_s8_channel",
    "qoperator_u8_u8",
    "qoperator_u8_s8_channel",
    "qoperator_s8_s8",
    "dynamic_u8_u8",
    "dynamic_u8_s8_channel",
]


def reference(model, x, classes):
    Levels.nearest = 1.0
    run = Run(model, x)
    a = run.values[run.layer]
    signals = [torch.autograd.grad(run.scores[:, k].sum(), (run.image, a), retain_graph=True) for k in classes]
    cams = [(g.mean((2, 3), keepdim=True) * a).sum(1) for _, g in signals]
    arrays = {
        "x": x,
        "classes": torch.tensor(classes, dtype=torch.int32),
        "scores": run.scores,
        "gradient": torch.stack([g for g, _ in signals]),
        "grad_cam": torch.stack(cams),
    }
    arrays = {k: v.detach().numpy() for k, v in arrays.items()}
    return run.layer, {k: v if v.dtype == np.int32 else v.astype(np.float32) for k, v in arrays.items()}


def main():
    for kind in (Plain, Mixed):
        name = kind.__name__.lower()
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        draw = torch.Generator().manual_seed(5)
        net = kind().eval()
        for p in net.parameters():
            p.data.normal_(0, (2 / max(p[0].numel(), 6)) ** 0.5 if p.ndim > 1 else 0.1, generator=draw)
        images = torch.randn(8, 3, 12, 12, generator=draw)
        info = {"layer": {}, "seed": {}}
        with tempfile.TemporaryDirectory() as temporary:
            plain, prepared = f"{temporary}/plain.onnx", f"{temporary}/prepared.onnx"
            torch.onnx.export(
                net, (images[:1],), plain, dynamo=False, opset_version=17, input_names=["x"], output_names=["scores"],
                dynamic_axes={"x": {0: "batch"}, "scores": {0: "batch"}},
            )
            quant_pre_process(plain, prepared)
            for file in FILES:
                path = str(folder / f"{file}.onnx")
                quantised(prepared, path, file, images)
                model = onnx.load(path)
                # A dynamic range is that of a whole batch: two rows, so that this is seen.
                for seed in range(1000):
                    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(seed)).double()
                    x = x.float().double()
                    layer, arrays = reference(model, x, [0, 3, 1])
                    if Levels.nearest > NEAR:
                        break
                else:
                    raise SystemExit(f"{name}/{file}: every input comes near a tie")
                session = onnxruntime.InferenceSession(path)
                (scores,) = session.run(None, {"x": arrays["x"]})
                kinds = sorted({n.op_type for n in model.graph.node})
                print(name, file, seed, layer, f"{np.abs(scores - arrays['scores']).max():.1e}", " ".join(kinds), sep="\t")
                info["layer"][file], info["seed"][file] = layer, seed
                np.savez(folder / f"{file}.npz", **arrays)
        (folder / "info.json").write_text(json.dumps(info, indent=1) + "\n")


if __name__ == "__main__":
    main()
