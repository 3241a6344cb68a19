"""PyTorch's two exporters."""

import io
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout

import torch

NAMES = {"legacy": "torch.onnx.export(dynamo=False)", "dynamo": "torch.onnx.export(dynamo=True)", "tf2onnx": "tf2onnx.convert.from_function"}

LEGACY_NEWEST = 20  # opset


def warm_up(folder):
    """What the exporters load and register once, for all the processes that are forked from this one."""
    export(torch.nn.Conv2d(3, 4, 3).eval(), [torch.zeros(1, 3, 8, 8)], "dynamo", folder / "warm.onnx", 17, ["image"])


class CannotExport(Exception):
    """PyTorch cannot export the model."""


def export(net, inputs, exporter, path, opset, names, outputs=None):
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)  # no exporter knows the fused kernel
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            if exporter == "legacy":
                legacy(net, inputs, path, opset, names, outputs)
            else:
                torch.onnx.export(net, tuple(inputs), path, dynamo=True, verbose=False, input_names=names, output_names=outputs)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CannotExport(f"{type(error).__name__}: {' '.join(lines)[:300]}") from None


def legacy(net, inputs, path, opset, names, outputs):
    """In the newest version that this exporter writes where an operator is missing from the one asked for."""
    for version in (opset, LEGACY_NEWEST):
        try:
            return torch.onnx.export(net, tuple(inputs), str(path), dynamo=False, opset_version=version, input_names=names, output_names=outputs)
        except torch.onnx.errors.UnsupportedOperatorError:
            if version == LEGACY_NEWEST:
                raise
