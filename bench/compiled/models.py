"""Exports torchvision's models with random weights (seed 0), and a static QDQ int8 ResNet-50 calibrated with the committed photos."""

import sys
from pathlib import Path

import torch
import torchvision
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from photos import photos

NAMES = ["resnet50", "vgg16", "mobilenet_v2", "densenet121", "convnext_tiny", "vit_b_16"]


class Photos(CalibrationDataReader):
    """The committed photos, one by one."""

    def __init__(self):
        self.left = list(photos())

    def get_next(self):
        return {"image": self.left.pop()[None]} if self.left else None


def main(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        file = folder / f"{name}.onnx"
        if file.exists():
            continue
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None).eval()
        torch.onnx.export(
            model, torch.zeros(1, 3, 224, 224), file, dynamo=False, opset_version=17,
            input_names=["image"], output_names=["scores"], dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
        )
    if not (folder / "resnet50_qdq.onnx").exists():
        quantize_static(folder / "resnet50.onnx", folder / "resnet50_qdq.onnx", Photos(), quant_format=QuantFormat.QDQ)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
