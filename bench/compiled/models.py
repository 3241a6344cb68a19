"""Exports torchvision's models with random weights (seed 0), and a static QDQ int8 ResNet-50 of them."""

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

NAMES = ["resnet50", "vgg16", "mobilenet_v2", "densenet121", "convnext_tiny", "vit_b_16"]


class Noise(CalibrationDataReader):
    """Four images of noise."""

    def __init__(self):
        self.left = [np.random.default_rng(i).standard_normal((1, 3, 224, 224)).astype("float32") for i in range(4)]

    def get_next(self):
        return {"image": self.left.pop()} if self.left else None


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
        quantize_static(folder / "resnet50.onnx", folder / "resnet50_qdq.onnx", Noise(), quant_format=QuantFormat.QDQ)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
