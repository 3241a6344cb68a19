"""Reference explanations by PyTorch autograd.

A `TorchFunctionMode` sees every call of a PyTorch function, whichever way a network writes it. It finds the call whose result
equals a given activation, reads the signal there, and gives every rectifier another backward rule.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from .layouts import equal_up_to_layout

sys.path.insert(0, str(Path(__file__).parents[3] / "golden" / "nets"))
from reference import MAX_POOLS, RECTIFIERS, Rectify  # noqa: E402

EPS = torch.finfo(torch.float32).eps
STEP = 1e-6  # of central differences in float64
JITTER = 8 * EPS  # of the largest value: less than what deep networks in float32 are off by (3e-6 at the end of a DenseNet-169)
TOKENS = 8  # of classes and registers, at most
MATCHES = 8  # calls that give one activation: a value and its views, which need not get the same signal
GATES = ("hardswish", "hardsigmoid", "hardmish")  # modules that may be written with a ReLU6, which is no rectifier there


class Modules:
    """The path of the module that runs."""

    def __init__(self, net):
        self.names = {id(m): name for name, m in net.named_modules()}
        self.stack = []
        self.hooks = []

    def __enter__(self):
        def enter(module, args):
            self.stack.append(module)

        def leave(module, args, result):
            if self.stack and self.stack[-1] is module:
                self.stack.pop()

        self.hooks = [
            torch.nn.modules.module.register_module_forward_pre_hook(enter),
            torch.nn.modules.module.register_module_forward_hook(leave, always_call=True),
        ]
        return self

    def __exit__(self, *error):
        for hook in self.hooks:
            hook.remove()

    def path(self):
        return self.names.get(id(self.stack[-1]), "") if self.stack else ""

    def in_gate(self):
        return any(type(m).__name__.lower() in GATES for m in self.stack)


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """Batch norm at inference from its formula. PyTorch 2.15's own sends wrong signals back on a CPU for some orders of memory."""
    if training:
        return None
    along = lambda t: t.reshape(1, -1, *[1] * (x.ndim - 2))
    y = (x - along(mean)) * along((var + eps).rsqrt())
    y = y if weight is None else y * along(weight)
    return y if bias is None else y + along(bias)


class Watch(TorchFunctionMode):
    """Counts calls; compares results with `wanted` activations, or inserts probes behind the calls in `probes`; rectifiers obey `rule`.

    `jitter` disturbs what rectifiers and max pools decide on, as a part of the largest value there.
    """

    def __init__(self, modules, wanted=(), probes=(), rule=None, jitter=0.0, seed=0, written_norms=False):
        super().__init__()
        self.written_norms = written_norms
        self.modules, self.wanted, self.rule, self.jitter = modules, wanted, rule, jitter
        self.noise = torch.Generator().manual_seed(seed)
        self.calls, self.rectified = 0, 0
        self.found = [[] for _ in wanted]
        self.probes = dict.fromkeys(probes)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.jitter and (func in RECTIFIERS or func in MAX_POOLS) and args[0].is_floating_point() and args[0].numel():
            x, *rest = args
            wave = self.jitter * torch.randn(x.shape, generator=self.noise, dtype=x.dtype)
            size = x.detach().nan_to_num(posinf=0, neginf=0)
            size = size if func in MAX_POOLS else size.abs().max()  # ties of equal zeros stay ties
            args = (x + wave * size, *rest)
        out = self.rectify(func, args, kwargs) if self.rule else None
        if out is None and self.written_norms and func is torch.nn.functional.batch_norm:
            out = batch_norm(*args, **kwargs)
        if out is None:
            out = func(*args, **kwargs)
        if isinstance(out, torch.Tensor) and out.is_floating_point() and out.requires_grad:
            self.calls += 1
            for i, value in enumerate(self.wanted):
                if len(self.found[i]) < MATCHES and value.size == out.numel():
                    layout = equal_up_to_layout(out.detach().cpu().numpy(), value)
                    if layout is not None:
                        name = getattr(func, "__name__", str(func))
                        self.found[i].append((self.calls, f"{self.modules.path()} {name}".strip(), layout))
            if self.calls in self.probes:
                probe = out.clone()
                self.probes[self.calls] = probe
                out = probe.clone()
        return out

    def rectify(self, func, args, kwargs):
        rectifier = RECTIFIERS.get(func)
        if rectifier is None or self.modules.in_gate():
            return None
        if func is torch.maximum and args[1].any():
            return None
        x = args[0]
        if not (isinstance(x, torch.Tensor) and x.is_floating_point() and x.requires_grad):
            return None
        try:
            value, derivative = rectifier(*args, **kwargs)
        except (TypeError, ValueError):
            return None
        self.rectified += 1
        return Rectify.apply(x, value, derivative, self.rule)


def disturb(net, seed):
    """Makes the ReLUs and max pools of a network decide on values that are disturbed by as much as float32 may."""
    kind = type(net)

    def forward(self, *args):
        with Watch(Modules(self), jitter=JITTER, seed=seed):
            return kind.forward(self, *args)

    net.__class__ = type(kind.__name__, (kind,), {"forward": forward})  # copies of the network are of that class too


def nearby(image):
    """The image with other last bits, and in another order of memory."""
    rng = torch.Generator().manual_seed(0)
    near = [image * (1 + EPS * torch.randint(-1, 2, image.shape, generator=rng)) for _ in range(2)]
    return near + ([image.contiguous(memory_format=torch.channels_last)] if image.ndim == 4 else [])


class Reference:
    """A network on an input, with the score that is explained."""

    def __init__(self, net, inputs, score, written_norms=False):
        self.net, self.inputs, self.score, self.written_norms = net, inputs, score, written_norms
        for p in net.parameters():
            p.requires_grad_(False)

    def double(self):
        self.net.double()
        wide = lambda t: t.double() if t.is_floating_point() else t
        return Reference(self.net, [wide(t) for t in self.inputs], self.score, self.written_norms)

    def single(self):
        self.net.float()
        return Reference(self.net, [t.float() if t.is_floating_point() else t for t in self.inputs], self.score, self.written_norms)

    def otherwise(self, calls, rule=None):
        """The signals as float32 also gives them: summed in other orders (without oneDNN, from channels-last memory), and from
        images that differ in their last bit."""
        with torch.backends.mkldnn.flags(enabled=False):
            runs = [self.signals(calls, rule)]
        image, *more = self.inputs
        runs += [Reference(self.net, [other, *more], self.score, self.written_norms).signals(calls, rule) for other in nearby(image)]
        return runs

    def disturbed(self, calls, rule=None):
        """The signals when every value that a ReLU or a maximum decides on is disturbed by as much as float32 may: whether a
        decision hangs on rounding."""
        return [self.signals(calls, rule, jitter=JITTER, seed=seed) for seed in range(4)]

    def run(self, **asked):
        image = self.inputs[0].detach().clone(memory_format=torch.preserve_format).requires_grad_()
        kind = torch.get_default_dtype()
        torch.set_default_dtype(image.dtype)
        try:
            with Modules(self.net) as modules, Watch(modules, written_norms=self.written_norms, **asked) as watch:
                out = self.net(image.clone(), *self.inputs[1:])
                score = self.score(out)
        finally:
            torch.set_default_dtype(kind)
        return image, score, watch

    def find(self, values):
        """Per value the calls whose result equals it: a list of `(call, place, layout)`."""
        return self.run(wanted=values)[2].found

    def signals(self, calls, rule=None, **jitter):
        """The signal at the image, and per call its result and the signal there."""
        image, score, watch = self.run(probes=calls, rule=rule, **jitter)
        probes = [watch.probes[call] for call in calls]
        image_signal, *signals = torch.autograd.grad(score, [image, *probes], allow_unused=True)
        array = lambda t: None if t is None else t.detach().numpy()
        return array(image_signal), [(array(p), array(s)) for p, s in zip(probes, signals, strict=True)], watch.rectified


    def is_gradient(self, image_signal):
        """Whether a signal at the image is the gradient, by central differences along random directions; in float64."""
        rng = torch.Generator().manual_seed(7)
        image, *more = self.inputs
        for _ in range(3):
            way = torch.randn(image.shape, generator=rng, dtype=image.dtype)
            with torch.no_grad():
                ahead, behind = (float(self.score(self.net(image + step * way, *more))) for step in (STEP, -STEP))
            slope, told = (ahead - behind) / (2 * STEP), float((torch.from_numpy(image_signal) * way).sum())
            if abs(slope - told) > 1e-3 * max(abs(slope), abs(told)):
                return False
        return True


def grids(array, size):
    """A layer's value or signal of one image as `[1,C,h,w]`, every way that its shape allows: axes of height and width, or of
    tokens, or of windows and tokens, behind class and register tokens; all other axes are channels."""
    h, w = size
    shape = array.shape
    ways = []
    for axis in range(len(shape) - 1, 0, -1):
        if shape[axis - 1 : axis + 1] == (h, w):
            ways.append(np.moveaxis(array, (axis - 1, axis), (-2, -1)))
    for first in range(len(shape)):
        for last in range(first + 1, len(shape) + 1):
            if math.prod(shape[first:last]) == h * w and (last == first + 1 or 1 not in (shape[first], shape[last - 1])):
                cells = array.reshape(*shape[:first], h * w, *shape[last:])
                ways.append(np.moveaxis(cells, first, -1))
    if len(shape) == 3 and 0 < shape[1] - h * w <= TOKENS:
        ways.append(array[:, shape[1] - h * w :].transpose(0, 2, 1))
    return [way.reshape(1, -1, h, w) for way in ways]


def grad_cam(activation, signal):
    """Grad-CAM before its ReLU, and what it were if nothing in it cancelled: neither the signals of a channel nor its terms."""
    mean = lambda g: g.mean(axis=(-2, -1), keepdims=True)
    return (mean(signal) * activation).sum(axis=1), (mean(np.abs(signal)) * np.abs(activation)).sum(axis=1)
