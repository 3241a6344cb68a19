#!/usr/bin/env python3
"""Adds excitation.npz to some networks of golden/nets: MWP and c-MWP, written straight from the formulas of Zhang et al. 2016.

    python3 -m venv venv && venv/bin/pip install -r golden/nets/requirements.txt
    venv/bin/python golden/nets/make_excitation.py

Each network is made again from the seed in its info.json, and must give the scores in its numbers.npz. A `TorchFunctionMode`
gives every call below a backward of its own, so that what autograd calls a gradient is the probability P; all in float64.

    convolution, linear   P(a_j) = a_j · Σ_i w⁺_ij · P_i / N_i with N_i = Σ_j w⁺_ij · a_j; the term is dropped where N_i = 0
    mean pool             a_j · P_i / Σ a over the window; 0 where the sum is 0
    sum of two branches   P · max(b, 0) / Σ max(b, 0)
    batch norm            P as it is: the scales of these networks are positive
    max pool, ReLU, concatenation, flatten: autograd's own

All of P starts at the class. c-MWP: one step to the operand of the last linear layer, and the same step with negated weights;
then on with the difference. A map is the sum over channels, before the ReLU.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from make_nets import HERE, draw_input, initialise
from networks import NETS
from torch.overrides import TorchFunctionMode

BELOW = {  # the module one resolution stage below the layer of Grad-CAM
    "alexnet": "features.4",
    "vgg16": "features.8",
    "googlenet": "inception4a",
    "resnet18": "layer2.1.relu",
    "resnet50": "layer2.0.relu",
}


def over(a, b):
    return torch.where(b == 0, 0.0, a / torch.where(b == 0, 1.0, b))


class Weighted(torch.autograd.Function):
    """`run(a, w)` is the layer without a bias, `back(a, w, p)` its transpose."""

    @staticmethod
    def forward(ctx, a, y, w, run, back):
        ctx.save_for_backward(a, w)
        ctx.run, ctx.back = run, back
        return y.clone()

    @staticmethod
    def backward(ctx, p):
        a, w = ctx.saved_tensors
        w = w.clamp(min=0)
        return a * ctx.back(a, w, over(p, ctx.run(a, w))), None, None, None, None


class MeanPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, pool):
        y = pool(a)
        ctx.save_for_backward(a, y)
        ctx.pool = pool
        return y

    @staticmethod
    def backward(ctx, p):
        a, y = ctx.saved_tensors
        _, back = torch.func.vjp(ctx.pool, a.detach())  # 1/n in both the pool and its transpose
        return a * back(over(p, y))[0], None


class Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a + b

    @staticmethod
    def backward(ctx, p):
        a, b = (v.clamp(min=0) for v in ctx.saved_tensors)
        share = over(p, a + b)
        return a * share, b * share


class AsItIs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y):
        return y.clone()

    @staticmethod
    def backward(ctx, p):
        return p, None


class Excitation(TorchFunctionMode):
    """`negated`: the call of a linear layer, counted from 0, whose weights are negated on the way back."""

    def __init__(self, negated=None):
        super().__init__()
        self.negated, self.calls, self.second_top = negated, 0, None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear:
            a, w, *_ = args
            return self.weighted(func(*args, **kwargs), a, w, F.linear, lambda a, w, p: p @ w)
        if func in (F.conv2d, torch.conv2d):
            a, w, _, *geometry = args
            back = lambda a, w, p: torch.nn.grad.conv2d_input(a.shape, w, p, *geometry)
            return self.weighted(func(*args, **kwargs), a, w, lambda a, w: F.conv2d(a, w, None, *geometry), back)
        if func is F.adaptive_avg_pool2d:
            return MeanPool.apply(args[0], lambda a: func(a, *args[1:]))
        if func in (torch.Tensor.add, torch.Tensor.add_) and isinstance(args[1], torch.Tensor):
            return Sum.apply(*args)
        if func is F.batch_norm:
            assert (kwargs["weight"] > 0).all(), "a negative scale"
            return AsItIs.apply(args[0], func(*args, **kwargs).detach())
        return func(*args, **kwargs)

    def weighted(self, y, a, w, run, back):
        self.second_top = a
        w = (-w if self.calls == self.negated else w).detach()
        self.calls += 1
        return Weighted.apply(a, y.detach(), w, run, back)


def probability(net, x, layers, k, negated=None):
    """Values, and the functions that send P from the score to the second top, and from there to the layers."""
    kept = {}
    hooks = [net.get_submodule(m).register_forward_hook(lambda _m, _i, out, m=m: kept.update({m: out})) for m in layers]
    with Excitation(negated) as mode:
        scores = net(x.clone().requires_grad_())
    for hook in hooks:
        hook.remove()
    (top,) = torch.autograd.grad(scores[:, k].sum(), mode.second_top, retain_graph=True)
    down = lambda p: torch.autograd.grad(mode.second_top, [kept[m] for m in layers], p, retain_graph=True)
    return scores, mode.calls, top, down


def maps(net, x, layers, k):
    """For every layer MWP and c-MWP, [N,h,w]."""
    scores, calls, p, down = probability(net, x, layers, k)
    _, _, dual, _ = probability(net, x, layers, k, negated=calls - 1)
    # Both sides share out all of their mass, as each class here has weights of both signs on what is active.
    assert torch.allclose(p.flatten(1).sum(1), torch.ones(len(x), dtype=p.dtype))
    assert torch.allclose(dual.flatten(1).sum(1), torch.ones(len(x), dtype=p.dtype))
    return scores, [(mwp.sum(1), contrast.sum(1)) for mwp, contrast in zip(down(p), down(p - dual), strict=True)]


def main():
    torch.set_num_threads(1)
    for spec in NETS:
        if spec.name not in BELOW:
            continue
        info = json.loads((HERE / spec.name / "info.json").read_text())
        known = np.load(HERE / spec.name / "numbers.npz")
        torch.manual_seed(info["seed"])
        net = spec.build().eval()
        initialise(net, spec, info["seed"])
        x = draw_input(spec, info["seed"])
        assert np.array_equal(x.numpy(), known["x"]), spec.name
        net, x = net.double(), x.double()
        arrays = {}
        for k in known["classes"].tolist():
            scores, found = maps(net, x, [spec.layer, BELOW[spec.name]], k)
            np.testing.assert_allclose(scores.detach(), known["scores"], rtol=1e-4, atol=1e-5)
            for end, (mwp, contrast) in zip(("", "_below"), found, strict=True):
                arrays.setdefault(f"mwp{end}", []).append(mwp.numpy())
                arrays.setdefault(f"c_mwp{end}", []).append(contrast.numpy())
        arrays = {name: np.stack(maps).astype(np.float32) for name, maps in arrays.items()}
        np.savez(HERE / spec.name / "excitation.npz", **arrays)
        print(f"{spec.name:10}", *(f"{n} {a.shape} Σ {a.reshape(*a.shape[:2], -1).sum(-1).ravel().round(4)}" for n, a in arrays.items()), sep="\n  ")


if __name__ == "__main__":
    main()
