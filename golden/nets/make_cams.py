#!/usr/bin/env python3
"""Adds cams.npz to the networks of golden/nets whose layer is a module: maps by pytorch-grad-cam's own classes, before any scaling.

    python3 -m venv venv && venv/bin/pip install -r golden/nets/requirements.txt grad-cam==1.5.7
    venv/bin/python golden/nets/make_cams.py

Each network is made again from the seed in its info.json, and must give the scores in its numbers.npz. Activations and gradients
are handed to the classes in float64. Grad-CAM++ there adds 1e-6 to a denominator of the size of the squared gradient; its formula
does not change when activations are divided and gradients multiplied by one number, so both are, and the 1e-6 is nothing.
"""

import json
import warnings

import numpy as np
import torch
from make_nets import HERE, draw_input, initialise
from networks import NETS
from pytorch_grad_cam import EigenCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from reference import backward

LARGE = 1e6  # Grad-CAM++: squared gradients are multiplied by its square


def maps(net, layer, x, activation, signal):
    """[N,h,w] by every class for one target; Eigen-CAM needs no target."""
    def by(cls, scale=1.0):
        cam = cls(model=net, target_layers=[layer])
        found = cam.get_cam_image(x, layer, None, activation / scale, signal * scale, False)
        cam.activations_and_grads.release()
        return found

    return {
        "grad_cam_plus_plus": by(GradCAMPlusPlus, LARGE),
        "xgrad_cam": by(XGradCAM),
        "hires_cam": by(HiResCAM),
        "layer_cam": by(LayerCAM),
        "eigen_cam_centred": by(EigenCAM),
    }


def main():
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for spec in NETS:
        info = json.loads((HERE / spec.name / "info.json").read_text())
        if info["module"] is None or not spec.rectifiers or spec.name == "captum_one_conv":
            continue
        known = np.load(HERE / spec.name / "numbers.npz")
        torch.manual_seed(info["seed"])
        net = spec.build().eval()
        initialise(net, spec, info["seed"])
        x = draw_input(spec, info["seed"])
        assert np.array_equal(x.numpy(), known["x"]), spec.name
        classes = known["classes"].tolist()
        net, x = net.double(), x.double()
        scores, activation, _, signals = backward(net, x, classes, spec.layer, "gradient")
        np.testing.assert_allclose(scores, known["scores"], rtol=1e-4, atol=1e-5)
        layer = net.get_submodule(spec.layer)
        per_class = [maps(net, layer, x, activation.numpy(), signal.numpy()) for signal in signals]
        arrays = {name: np.stack([found[name] for found in per_class]).astype(np.float32) for name in per_class[0]}
        np.savez(HERE / spec.name / "cams.npz", **arrays)
        print(f"{spec.name:18} {arrays['hires_cam'].shape} {(HERE / spec.name / 'cams.npz').stat().st_size / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
