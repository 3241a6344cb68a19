"""`export.py MODEL FILE` writes the network of `peers.py` as ONNX."""

import sys

import torch

from peers import build

model, file = sys.argv[1:]
torch.onnx.export(
    build(model), torch.zeros(1, 3, 224, 224), file, dynamo=False, opset_version=17,
    input_names=["image"], output_names=["scores"], dynamic_axes={"image": {0: "N"}, "scores": {0: "N"}},
)
