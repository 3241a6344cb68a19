#!/usr/bin/env python3
"""Makes golden/half/: a small network in half precision as PyTorch and onnxruntime's converter write it, with explanations by
PyTorch autograd.

    python3 -m venv venv && venv/bin/pip install -r golden/nets/requirements.txt
    venv/bin/python golden/half/make.py

References are of the network with its weights rounded to half precision, and computed in float64 from there.
"""

import copy
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import nn

HERE = Path(__file__).parent


class Net(nn.Module):
    """Scores that are so small, and a map of so many cells, that signals at it are below what float16 can tell from 0."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.Linear(8, 5)

    def forward(self, x):
        x = F.silu(self.a(x))
        x = F.relu(self.b(x) * torch.softmax(x[:, :1, ::2, ::2] * 3, 2) * 8)
        return self.c(F.adaptive_avg_pool2d(x, 1).flatten(1))


def export(net, x, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x,), str(path), dynamo=False, opset_version=17, input_names=["x"], output_names=["scores"],
            dynamic_axes={"x": {0: "batch"}, "scores": {0: "batch"}},
        )


def main():
    draw = torch.Generator().manual_seed(3)
    net = Net().eval()
    for p in net.parameters():
        p.data.normal_(0, (2 / p[0].numel()) ** 0.5 if p.ndim > 1 else 0.1, generator=draw)
    net.c.weight.data.mul_(1e-4)
    net.c.bias.data.mul_(1e-3)
    x = torch.randn(2, 3, 16, 16, generator=draw).half().float()
    files = {}
    export(net, x, HERE / "float.onnx")
    plain = onnx.load(HERE / "float.onnx")
    (HERE / "float.onnx").unlink()
    for name, keep in (("converted", False), ("converted_keep_io", True)):
        # Numbers below 1e-7 would be made larger: there are none.
        onnx.save(convert_float_to_float16(plain, keep_io_types=keep), HERE / f"{name}.onnx")
        files[name] = torch.float16
    for name, dtype in (("torch_half", torch.float16), ("torch_bfloat16", torch.bfloat16)):
        export(copy.deepcopy(net).to(dtype), x.to(dtype), HERE / f"{name}.onnx")
        files[name] = dtype
    for name, dtype in files.items():
        exact = copy.deepcopy(net).to(dtype).double()
        image = x.to(dtype).double().requires_grad_()
        layer = F.silu(exact.a(image))
        a = F.relu(exact.b(layer) * torch.softmax(layer[:, :1, ::2, ::2] * 3, 2) * 8)
        scores = exact.c(a.mean((2, 3)))
        classes = [0, 3]
        signals = [torch.autograd.grad(scores[:, k].sum(), (image, a), retain_graph=True) for k in classes]
        arrays = {
            "x": image.detach(),
            "classes": torch.tensor(classes, dtype=torch.int32),
            "scores": scores.detach(),
            "gradient": torch.stack([g for g, _ in signals]),
            "grad_cam": torch.stack([(g.mean((2, 3), keepdim=True) * a).sum(1) for _, g in signals]).detach(),
        }
        arrays = {k: v.numpy() for k, v in arrays.items()}
        np.savez(HERE / f"{name}.npz", **{k: v if v.dtype == np.int32 else v.astype(np.float32) for k, v in arrays.items()})
        line = f"{name}\tsignal at the layer up to {max(float(g.abs().max()) for _, g in signals):.1e}"
        if dtype == torch.float16:
            session = onnxruntime.InferenceSession(HERE / f"{name}.onnx")
            given = arrays["x"].astype(np.float32 if name.endswith("io") else np.float16)
            (found,) = session.run(None, {"x": given})
            line += f"\tonnxruntime's scores differ by {np.abs(found - arrays['scores']).max() / np.abs(arrays['scores']).max():.1e}"
        print(line)


if __name__ == "__main__":
    main()
