"""Makes the models: torchvision's with random weights (seed 0), the one inside whycam, and two static QDQ int8 ResNets."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPORTED = ["resnet50", "vgg16", "mobilenet_v2", "densenet121", "convnext_tiny", "vit_b_16"]
INSIDE = "efficientnet_lite0_int8w"
# Of random weights, and of weights that were trained.
QUANTISED = ["resnet50_qdq", "resnet18_trained_qdq"]
# Excitation backprop is not defined for these: nodes between the layer and the scores read what may be negative.
SIGNED = ["mobilenet_v2", "densenet121", "convnext_tiny", "vit_b_16", INSIDE]
STEPS = 60


def names():
    return [*EXPORTED, INSIDE, *QUANTISED]


def crops(images, generator):
    """A square of each image, of half its side to its whole, enlarged, and mirrored or not."""
    import torch
    from torch.nn.functional import interpolate

    made = []
    for image in images:
        side = int(torch.randint(112, 225, (), generator=generator))
        top, left = torch.randint(0, 225 - side, (2,), generator=generator).tolist()
        crop = interpolate(image[None, :, top : top + side, left : left + side], size=(224, 224), mode="bilinear", antialias=True)[0]
        made.append(crop.flip(-1) if torch.rand((), generator=generator) < 0.5 else crop)
    return torch.stack(made)


def trained(images):
    """A ResNet-18 that tells the photos apart: trained for a minute on crops of them, a class a photo."""
    import torch
    import torchvision

    generator = torch.Generator().manual_seed(0)
    model = torchvision.models.resnet18(weights=None, num_classes=len(images)).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-3)
    classes = torch.arange(len(images)).repeat(2)
    for _ in range(STEPS):
        batch = torch.cat([crops(images, generator), crops(images, generator)])
        loss = torch.nn.functional.cross_entropy(model(batch), classes, label_smoothing=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def export(model, file):
    import torch

    torch.onnx.export(
        model.eval(), torch.zeros(1, 3, 224, 224), file, dynamo=False, opset_version=17,
        input_names=["image"], output_names=["scores"], dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
    )  # fmt: skip


def quantise(model, file, images, **options):
    """Static, QDQ, calibrated with these images one by one."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Images(CalibrationDataReader):
        left = list(images)

        def get_next(self):
            return {"image": self.left.pop()[None]} if self.left else None

    quantize_static(model, file, Images(), quant_format=QuantFormat.QDQ, **options)


def make(name, folder):
    import numpy as np
    import torch
    import torchvision

    from photos import photos

    file = folder / f"{name}.onnx"
    torch.manual_seed(0)
    images = np.stack(list(photos()))
    if name == INSIDE:
        shutil.copy(ROOT / f"crates/whycam/models/{name}.onnx", file)
    elif name == "resnet50_qdq":
        quantise(folder / "resnet50.onnx", file, images)
    elif name == "resnet18_trained_qdq":
        images, whole = torch.tensor(images), folder / "resnet18_trained.float"
        if not whole.exists():
            export(trained(images), whole)
        generator = torch.Generator().manual_seed(1)
        # Beside the photos, crops: else the greatest score of all is that of a photo, at the very end of its range.
        seen = torch.cat([images, *(crops(images, generator) for _ in range(8))])
        # Weights of 7 bits, as onnxruntime advises for processors without VNNI: its sums of two products of 8 bits saturate there.
        quantise(whole, file, seen.numpy(), reduce_range=True)
    else:
        model = getattr(torchvision.models, name)(weights=None)
        if name == "vit_b_16":
            # Torchvision starts with zeros there, which give scores of 0 and blank maps.
            torch.nn.init.normal_(model.heads.head.weight, std=0.02)
        export(model, file)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names():
        if not (folder / f"{name}.onnx").exists():
            make(name, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
