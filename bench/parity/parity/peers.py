"""What pytorch-grad-cam, captum and torchcam say, raw: before they scale or enlarge a map. Each gets a copy of the network of its own."""

import contextlib
import copy
import io
import math
import warnings

import captum.attr as captum
import numpy as np
import pytorch_grad_cam as pgc
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from .formulas import relu

warnings.filterwarnings("ignore")
PATCH, STEP = 35, 17  # whycam's patch around a multiple of 17 begins at a multiple of 17, as captum's do
STEPS = 50  # of integrated gradients
COPIES, NOISE = 64, 0.15  # of SmoothGrad


def own(case):
    """The network for someone who hooks modules: hooks and ReLUs in place do not go together."""
    net = copy.deepcopy(case.net)
    for m in net.modules():
        if getattr(m, "inplace", False):
            m.inplace = False
    return net


def grad_cam_library(name, rectified=False):
    """A map of pytorch-grad-cam as it is before the library's ReLU and its two scalings to 0…1."""

    def says(case, x=None):
        net = own(case)
        kept = []
        with contextlib.redirect_stderr(io.StringIO()), getattr(pgc, name)(net, [net.get_submodule(case.layer)]) as cam:
            inner = cam.get_cam_image
            cam.get_cam_image = lambda *args: kept.append(inner(*args)) or kept[-1]
            cam(input_tensor=case.x.clone() if x is None else x, targets=[ClassifierOutputTarget(case.target)])
        return relu(kept[0][0]) if rectified else kept[0][0]

    return says


def grad_cam_library_smooth(case):
    """The mean over the six copies of `aug_smooth`, of raw maps."""
    says, maps = grad_cam_library("GradCAM", rectified=True), []
    for mirrored in (False, True):
        for factor in (0.9, 1, 1.1):
            x = case.x.flip(3) if mirrored else case.x
            one = says(case, x * factor)
            maps.append(one[:, ::-1] if mirrored else one)
    return np.mean(maps, axis=0)


def grad_cam_library_full_grad(case):
    net = own(case)
    with contextlib.redirect_stdout(io.StringIO()), pgc.FullGrad(net, []) as cam:
        kept = []
        inner = cam.compute_cam_per_layer
        cam.compute_cam_per_layer = lambda *args: kept.append(inner(*args)) or kept[-1]
        cam(input_tensor=case.x.clone(), targets=[ClassifierOutputTarget(case.target)])
    return kept[0].squeeze()


def grad_cam_library_guided(case):
    return pgc.GuidedBackpropReLUModel(own(case))(case.x.clone(), case.target).transpose(2, 0, 1)


def captum_image(make, **more):
    """A map of the image."""

    def says(case):
        return make(own(case)).attribute(case.x.clone().requires_grad_(), target=case.target, **more)[0].detach().numpy()

    return says


def captum_layer(make, reduce, **more):
    def says(case):
        net = own(case)
        out = make(net, net.get_submodule(case.layer)).attribute(case.x.clone(), target=case.target, **more)
        return reduce(out[0].detach().numpy())

    return says


def captum_guided_grad_cam(case):
    net = own(case)
    made = captum.GuidedGradCam(net, net.get_submodule(case.layer))
    return made.attribute(case.x.clone().requires_grad_(), target=case.target, interpolate_mode="bilinear")[0].detach().numpy()


def captum_ablation(case):
    """The channels' scores are captum's; their sum is the paper's."""
    net = own(case)
    channels = torch.arange(len(case.activation))[None, :, None, None]
    with torch.no_grad():
        whole = float(net(case.x)[0, case.target])
        made = captum.LayerFeatureAblation(net, net.get_submodule(case.layer))
        drops = made.attribute(case.x, target=case.target, layer_baselines=0, layer_mask=channels, perturbations_per_eval=8)[0].numpy()
    return relu((drops / whole * case.activation).sum(0))


def captum_occlusion(case):
    made = captum.Occlusion(own(case))
    with torch.no_grad():
        out = made.attribute(case.x, (3, PATCH, PATCH), (3, STEP, STEP), baselines=0, target=case.target, perturbations_per_eval=8)
    return out[0, 0].numpy()


def as_captum_occlusion(ours):
    """captum's map from whycam's: at each pixel the mean fall of the score over all patches that cover it."""
    total, count = np.zeros(ours.shape), np.zeros(ours.shape)
    rows, columns = ([STEP * i for i in range(math.ceil((side - PATCH) / STEP) + 1)] for side in ours.shape)
    for top in rows:
        for left in columns:
            where = np.s_[top : top + PATCH, left : left + PATCH]
            total[where] -= ours[top + STEP, left + STEP]
            count[where] += 1
    return total / count


def captum_smoothgrad(case, copies=COPIES):
    torch.manual_seed(case.seed)
    made = captum.NoiseTunnel(captum.Saliency(own(case)))
    deviation = NOISE * float(case.x.max() - case.x.min())
    x = case.x.clone().requires_grad_()
    out = made.attribute(x, nt_samples=copies, nt_samples_batch_size=4, stdevs=deviation, target=case.target, abs=False)
    return out[0].detach().numpy()


def variance_of_smoothgrad(case, copies=COPIES):
    """The variance of the gradient of a noisy copy, per pixel."""
    rng = torch.Generator().manual_seed(1000 + case.seed)
    deviation = NOISE * float(case.x.max() - case.x.min())
    total = squares = 0
    for _ in range(copies):
        x = (case.x + deviation * torch.randn(case.x.shape, generator=rng)).requires_grad_()
        g = torch.autograd.grad(case.net(x)[0, case.target], x)[0][0].double().numpy()
        total, squares = total + g, squares + g * g
    return (squares - total**2 / copies) / (copies - 1)


def torchcam_library(name, **more):
    def says(case):
        net = own(case)
        with getattr(torchcam, name)(net, net.get_submodule(case.layer), **{k: net.get_submodule(v(case)) for k, v in more.items()}) as cam:
            scores = net(case.x)
            return cam(case.target, scores, normalized=False)[0][0].detach().numpy()

    return says
