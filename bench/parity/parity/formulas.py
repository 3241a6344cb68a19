"""What the papers' equations say, written down once more: from a layer's activation `a` and signal `g`, `[C,h,w]` in float64, or from a network."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def relu(array):
    return np.maximum(array, 0)


def grad_cam(a, g):
    return (g.mean((1, 2), keepdims=True) * a).sum(0)


def grad_cam_plus_plus(a, g):
    """Chattopadhay et al. 2018, eq. 5 and 19, for a network that is linear piece by piece: α = g²/(2g² + g³·ΣA)."""
    total = a.sum((1, 2), keepdims=True)
    alpha = np.divide(1, 2 + g * total, out=np.zeros_like(g), where=g != 0)
    return ((alpha * relu(g)).sum((1, 2), keepdims=True) * a).sum(0)


def xgrad_cam(a, g):
    """Fu et al. 2020, eq. 8."""
    total = a.sum((1, 2), keepdims=True)
    return (np.divide((g * a).sum((1, 2), keepdims=True), total, out=np.zeros_like(total), where=total != 0) * a).sum(0)


def hires_cam(a, g):
    return (g * a).sum(0)


def layer_cam(a, g):
    return (relu(g) * a).sum(0)


def eigen_cam(a, centre):
    """Muhammad & Yeasin 2020, eq. 5; its sign is free."""
    cells = a.reshape(len(a), -1).T
    cells = cells - cells.mean(0) if centre else cells
    return (cells @ np.linalg.svd(cells, full_matrices=False)[2][0]).reshape(a.shape[1:])


@torch.no_grad()
def ablation_cam(net, x, target, layer):
    """Desai & Ramaswamy 2020, eq. 2 and 3: the score without a channel is that of the network whose layer has 0 there."""
    net, x, kept = net.double(), x.double(), {}
    module = net.get_submodule(layer)
    hook = module.register_forward_hook(lambda m, i, out: kept.update(a=out.detach().clone()))
    whole = float(net(x)[0, target])
    hook.remove()

    def without(k):
        def drop(m, i, out):
            out = out.clone()
            out[:, k] = 0
            return out

        hook = module.register_forward_hook(drop)
        score = float(net(x)[0, target])
        hook.remove()
        return score

    a = kept["a"][0].numpy()
    weights = np.array([(whole - without(k)) / whole for k in range(len(a))])
    return relu((weights[:, None, None] * a).sum(0))


@torch.no_grad()
def score_cam(net, x, target, a, batch=16):
    """Wang et al. 2020, algorithm 1: masks are enlarged, then scaled to 0…1."""
    net, x, a = net.double(), x.double(), torch.from_numpy(a)
    masks = F.interpolate(a[None], x.shape[2:], mode="bilinear", align_corners=False)[0]
    least, most = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    masks = torch.where(most > least, (masks - least) / (most - least), 0.0)
    scores = torch.cat([net(x * part[:, None])[:, target] for part in masks.split(batch)])
    return relu((scores.softmax(0)[:, None, None] * a).sum(0).numpy())


def full_grad(net, x, target):
    """Srinivas & Fleuret 2019, eq. 3 and 6: every bias that has a grid, those of batch norms and of clips (§3.1) included."""
    net, x = net.double(), x.double().requires_grad_()
    seen = []

    def keep(module, inputs, out):
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            seen.append((out, module.bias.reshape(1, -1, 1, 1)))
        elif isinstance(module, nn.BatchNorm2d):
            scale = module.weight / (module.running_var + module.eps).sqrt()
            seen.append((out, (module.bias - module.running_mean * scale).reshape(1, -1, 1, 1)))
        elif isinstance(module, nn.ReLU6):
            seen.append((out, 6.0 * (inputs[0] >= 6)))
        else:
            return None
        return out.clone()  # a function in place (DenseNet's last ReLU) would make `out` its own result

    hooks = [m.register_forward_hook(keep) for m in net.modules()]
    score = net(x)[0, target]
    for hook in hooks:
        hook.remove()
    signal, *signals = torch.autograd.grad(score, [x, *(out for out, _ in seen)])

    def psi(part):
        part = part.detach().abs()
        part = part - part.min()
        part = part / part.max().clamp_min(1e-30)
        return F.interpolate(part, x.shape[2:], mode="bilinear", align_corners=False).sum(1)[0]

    parts = [signal * x, *(bias * g for (_, bias), g in zip(seen, signals, strict=True))]
    return sum(psi(part) for part in parts).numpy()


def guided_grad_cam(case):
    """Selvaraju et al. 2017, §3.2: guided backpropagation times the enlarged Grad-CAM."""
    cam = torch.from_numpy(relu(grad_cam(case.activation, case.signal)))
    large = F.interpolate(cam[None, None], case.x.shape[2:], mode="bilinear", align_corners=False)[0]
    return case.rectified("guided_backprop") * large.numpy()


def integrated_gradients(net, x, target, steps):
    """Sundararajan et al. 2017, eq. 1, by the midpoint rule from 0, in float64."""
    net, x = net.double(), x.double()
    points = ((x * ((k + 0.5) / steps)).requires_grad_() for k in range(steps))
    return sum((torch.autograd.grad(net(p)[0, target], p)[0] for p in points))[0].numpy() / steps * x[0].numpy()


@torch.no_grad()
def occlusion(net, x, target, size, stride):
    """The change of the score at every centre of the grid, in float64; 0 between them."""
    net, x = net.double(), x.double()
    change = np.zeros(x.shape[2:])
    whole = net(x)[0, target]
    for i in range(0, x.shape[2], stride):
        for j in range(0, x.shape[3], stride):
            covered = x.clone()
            top, left = (max(0, at - (size - 1) // 2) for at in (i, j))
            covered[:, :, top : i + size // 2 + 1, left : j + size // 2 + 1] = 0
            change[i, j] = net(covered)[0, target] - whole
    return change
