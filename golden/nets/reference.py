"""Reference explanations by PyTorch autograd, whichever way a network writes its ReLUs.

A `TorchFunctionMode` sees every call of a rectifier (`nn.ReLU`, `F.relu`, `torch.relu`, `x.clamp(min=0)`, `nn.ReLU6`, in place or
not, a module used twice) and replaces its backward rule. `rule=None` leaves autograd alone; `rule="gradient"` must equal that exactly.
"""

import math

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

RULES = {  # signal sent back, from the arriving signal g and the derivative d of the rectifier
    "gradient": lambda g, d: g * d,
    "deconvnet": lambda g, d: g * (g > 0),
    "guided_backprop": lambda g, d: g * d * (g > 0),
}


def clip(x, low, high):
    """The clip as (value, derivative); the derivative is 1 strictly between the bounds."""
    low, high = -math.inf if low is None else low, math.inf if high is None else high
    return x.detach().clamp(low, high), (x > low) & (x < high)


def leaky(x, slope):
    return torch.where(x > 0, x, slope * x).detach(), torch.where(x > 0, 1.0, slope).to(x.dtype).detach()


def prelu(x, weight):
    return leaky(x, weight.reshape(1, -1, *[1] * (x.ndim - 2)) if weight.numel() > 1 else weight)


def relu(x, inplace=False):
    return clip(x, 0, None)


def clamp(x, min=None, max=None):
    return clip(x, min, max)


def maximum(x, zero):
    assert not zero.any()
    return clip(x, 0, None)


RECTIFIERS = {
    **dict.fromkeys([F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_], relu),
    torch.maximum: maximum,
    **dict.fromkeys([torch.clamp, torch.clip, torch.Tensor.clamp, torch.Tensor.clamp_, torch.Tensor.clip], clamp),
    F.relu6: lambda x, inplace=False: clip(x, 0, 6),
    F.hardtanh: lambda x, min_val=-1.0, max_val=1.0, inplace=False: clip(x, min_val, max_val),
    F.leaky_relu: lambda x, negative_slope=0.01, inplace=False: leaky(x, negative_slope),
    F.prelu: prelu,
    torch.prelu: prelu,
}
MAX_POOLS = {F.max_pool2d, F.max_pool2d_with_indices, torch.max_pool2d}


class Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, value, derivative, rule):
        ctx.save_for_backward(derivative)
        ctx.rule = rule
        return value.clone()

    @staticmethod
    def backward(ctx, g):
        (derivative,) = ctx.saved_tensors
        return RULES[ctx.rule](g, derivative), None, None, None


class ReluRule(TorchFunctionMode):
    """Gives every rectifier the backward rule `rule`; remembers the last rectifier's output; `jitter` disturbs near-ties."""

    def __init__(self, rule, jitter=0.0):
        super().__init__()
        self.rule, self.jitter, self.last, self.calls = rule, jitter, None, 0
        self.noise = torch.Generator().manual_seed(1)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        rectifier = RECTIFIERS.get(func)
        if rectifier is None and func not in MAX_POOLS:
            return func(*args, **kwargs)
        x, *rest = args
        if self.jitter:
            wave = self.jitter * torch.randn(x.shape, generator=self.noise, dtype=x.dtype)
            x = x + wave * (x.detach() if rectifier is None else x.detach().abs().mean())  # ties of equal zeros stay ties
        if rectifier is None:
            return func(x, *rest, **kwargs)
        self.calls += 1
        if self.rule is None:
            out = func(x, *rest, **kwargs)
        else:
            value, derivative = rectifier(x, *rest, **kwargs)
            out = Rectify.apply(x, value, derivative, self.rule)
        if out.ndim == 4:
            self.last = out
        return out


def backward(net, x, classes, layer, rule, jitter=0.0):
    """Scores, activation at `layer` ("last relu" or a module path), and per class the signal at the image and at the layer."""
    x = x.detach().clone().requires_grad_()
    kept = {}
    hook = layer != "last relu" and net.get_submodule(layer).register_forward_hook(lambda m, i, out: kept.update(a=out))
    with ReluRule(rule, jitter) as mode:
        scores = getattr(net, "logits", net)(x)  # a network that ends in a softmax is differentiated before it
    if hook:
        hook.remove()
    a = kept["a"] if hook else mode.last
    signals = [torch.autograd.grad(scores[:, k].sum(), (x, a), retain_graph=True) for k in classes]
    image, at_layer = (torch.stack(s) for s in zip(*signals, strict=True))
    return scores.detach(), a.detach(), image, at_layer


def fold(value, grid):
    """A value `[…,C,h,w]`, `[…,h,w,C]` or `[…,tokens,C]`, whose last h·w tokens are the cells, as `[…,C,h,w]`."""
    if grid is None or value.shape[-2:] == grid:
        return value
    h, w = grid
    if value.shape[-3:-1] != grid:
        value = value[..., value.shape[-2] - h * w :, :].unflatten(-2, grid)
    return value.movedim(-1, -3)


def grad_cam(activation, signal):
    """[K,N,h,w], before the ReLU; weights are means over the grid."""
    return (signal.mean(dim=(-2, -1), keepdim=True) * activation).sum(dim=2)


def numbers(net, x, classes, layer, grid=None):
    """Everything that `numbers.npz` holds, as torch tensors; `net` is float32 and in eval mode."""
    scores, activation, plain, at_layer = backward(net, x, classes, layer, None)
    activation, at_layer = fold(activation, grid), fold(at_layer, grid)
    maps = {rule: backward(net, x, classes, layer, rule)[2] for rule in RULES}
    assert torch.equal(maps["gradient"], plain), "the patched rectifiers do not reproduce autograd"
    cam = grad_cam(activation, at_layer)
    enlarged = F.interpolate(cam.relu(), size=x.shape[2:], mode="bilinear", align_corners=False)
    net.double()
    maps64 = {f"{rule}64": backward(net, x.double(), classes, layer, rule)[2] for rule in ("gradient", "guided_backprop")}
    net.float()
    return {
        "x": x, "scores": scores, "classes": torch.tensor(classes, dtype=torch.int32), **maps,
        "grad_cam": cam, "layer_activation": activation,
        "guided_grad_cam": maps["guided_backprop"] * enlarged.unsqueeze(2), **maps64,
    }
