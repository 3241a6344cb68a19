"""Other explainers on a PyTorch model: names itself in a line, then does jobs as `whycam-bench` does.

`peers.py MODEL`; a job is `TOOL METHOD`. Each tool is called as its documentation has it, on a network with random weights,
at the layer that whycam chooses. The object that a tool is made of exists already, as in a warm process.
"""

import sys
import time

import captum
import numpy as np
import timm
import torch
import torchcam.methods
import torchvision
from captum.attr import LayerGradCam
from importlib.metadata import version
from pytorch_grad_cam import AblationCAM, GradCAM, GuidedBackpropReLUModel

# Where Grad-CAM reads.
LAYERS = {
    "resnet50": lambda m: m.layer4[-1],
    "vgg16": lambda m: m.features[29],
    "mobilenet_v2": lambda m: m.features[-1],
    "efficientnet_lite0": lambda m: m.bn2,
    "vit_b_16": lambda m: m.encoder.layers[-1].ln_1,
}
CLASS = 281


def build(name):
    torch.manual_seed(0)
    make = getattr(torchvision.models, name, None)
    model = (make() if make else timm.create_model(name)).eval()
    # torchvision's ViT starts with a head of zeros, which sends no gradient back.
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():
            torch.nn.init.normal_(layer.weight, std=0.02)
    return model


def tokens_to_map(tokens):
    """ViT-B/16's tokens without the class token, as pytorch-grad-cam's README has it."""
    return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)


def jobs(name):
    """Functions that make what a job runs."""
    image = torch.tensor(np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32))
    of_tokens = tokens_to_map if name.startswith("vit") else None

    def gradcam():
        model = build(name)
        return GradCAM(model=model, target_layers=[LAYERS[name](model)], reshape_transform=of_tokens)

    def pytorch_grad_cam():
        cam = gradcam()
        return lambda: cam(input_tensor=image, targets=None)

    def both():
        cam, guided = gradcam(), GuidedBackpropReLUModel(build(name), device="cpu")
        return lambda: (cam(input_tensor=image, targets=None), guided(image.clone()))

    def ablation():
        model = build(name)
        cam = AblationCAM(model=model, target_layers=[LAYERS[name](model)])
        return lambda: cam(input_tensor=image, targets=None)

    def of_captum():
        model = build(name)
        cam = LayerGradCam(model, LAYERS[name](model))
        return lambda: cam.attribute(image, target=CLASS)

    def of_torchcam():
        model = build(name)
        cam = torchcam.methods.GradCAM(model, target_layer=LAYERS[name](model), reshape_transform=of_tokens)

        def run():
            scores = model(image)
            return cam(scores.squeeze(0).argmax().item(), scores)

        return run

    def forward():
        model = build(name)

        def run():
            with torch.no_grad():
                return model(image)

        return run

    return {
        "torch forward": forward,
        "pytorch-grad-cam grad-cam": pytorch_grad_cam,
        "pytorch-grad-cam guided-grad-cam,grad-cam": both,
        "pytorch-grad-cam ablation-cam": ablation,
        "captum grad-cam": of_captum,
        "torchcam grad-cam": of_torchcam,
    }


def main(name):
    known, made = jobs(name), {}
    tools = [("torch", torch.__version__), ("torchvision", torchvision.__version__), ("timm", timm.__version__)]
    tools += [("pytorch-grad-cam", version("grad-cam")), ("captum", captum.__version__), ("torchcam", version("torchcam"))]
    print(", ".join(f"{tool} {number.split('+')[0]}" for tool, number in tools), flush=True)
    for job in map(str.strip, sys.stdin):
        if job not in made:
            made[job] = known[job]()
        start = time.perf_counter()
        made[job]()
        print(f"{(time.perf_counter() - start) * 1e3:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
