"""Seeded random weights and batch-norm statistics."""

import math

import torch
from torch import nn


def draw(net, seed, inputs):
    """Breaks every symmetry that an initialisation leaves: running statistics, zero heads, tiny layer scales, unit norms.

    What is random already stays as the architecture draws it. Batch-norm statistics are those of a forward pass over `inputs`
    and their negatives, disturbed: drawn freely, they would make signals of deep networks vanish or explode. Their scales are small
    against their biases: otherwise deep networks with random weights are chaotic, and no float32 computes their gradients to 1 %.
    """
    rng = torch.Generator().manual_seed(seed)
    break_symmetries(net, rng)
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.weight is not None:
            m.weight.data.mul_(0.35)
            m.bias.data.add_(torch.randn(m.bias.shape, generator=rng))
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None]
    if not norms:
        return net
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.train()
        m.momentum = 1.0
    try:
        with torch.no_grad():
            net(*[torch.cat([t, -t]) if t.is_floating_point() else torch.cat([t, t]) for t in inputs])
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.eval()
            m.momentum = momentum
    for m in norms:
        m.running_mean.add_(0.2 * m.running_var.sqrt() * torch.randn(m.running_mean.shape, generator=rng))
        even = 0.5 * (m.running_var + m.running_var.mean())  # a channel that hardly varies is not blown up
        m.running_var.copy_(even * (0.75 + 0.5 * torch.rand(even.shape, generator=rng)) + 1e-3)
    return net


def break_symmetries(net, rng):
    for p in net.parameters():
        if not p.is_floating_point() or p.numel() == 0:
            continue
        if float(p.detach().amax() - p.detach().amin()) > 1e-5:
            continue
        value = float(p.detach().flatten()[0])
        if p.ndim >= 2 and value == 0 and max(p.shape) == p.numel() and p.ndim < 4:
            p.data.normal_(0, 0.2, generator=rng)  # a class token or a position
        elif p.ndim >= 2 and value == 0:
            p.data.normal_(0, 1 / math.sqrt(max(1, p[0].numel())), generator=rng)
        elif abs(value) < 1e-2 and value != 0:
            p.data.normal_(0.5, 0.2, generator=rng)  # a layer scale that starts near zero
        else:
            p.data.add_(0.1 * torch.randn(p.shape, generator=rng))


def image(shape, seed):
    """A smooth random image with some noise, of unit variance: not constant anywhere, as photos are."""
    rng = torch.Generator().manual_seed(1000 + seed)
    n, c, h, w = shape
    coarse = torch.randn(n, c, max(2, h // 8), max(2, w // 8), generator=rng)
    smooth = nn.functional.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=False)
    return smooth + 0.5 * torch.randn(shape, generator=rng)
