"""A PyTorch model of the zoo: made, exported, and asked what its maps should be."""

import torch

from . import weights
from .export import export
from .reference import Reference
from .said import Said
from .zoo import first

RULES = {"gradient": None, "guided-backprop": "guided_backprop"}


class TorchSide:
    def __init__(self, entry, seed):
        self.entry = entry
        torch.manual_seed(seed)
        self.tensors = [weights.image(entry.shape, seed), *entry.more().values()]
        self.net = weights.draw(entry.build().eval(), seed, self.tensors)
        self.inputs = {name: t.numpy() for name, t in zip(["image", *entry.more()], self.tensors, strict=True)}
        self.feed = self.inputs
        with torch.no_grad():
            out = self.net(*self.tensors)
        self.finite = bool(first(out).isfinite().all())
        self.target, self.score = entry.ask(out)
        self.calls = {}

    def export(self, exporter, path):
        export(self.net, self.tensors, exporter, path, self.entry.opset, list(self.inputs))

    def find(self, values):
        """Per value where PyTorch computes it, as `(place, layout)`, or None."""
        self.reference = Reference(self.net, self.tensors, self.score)
        self.found = self.reference.find(values) if values else []
        self.calls = {"gradient": sorted({f[0] for f in self.found if f}), "guided-backprop": []}
        return [f and (f"{f[1]} {f[2]}".strip(), f[3]) for f in self.found]

    def told(self, signals):
        """By value instead of by call."""
        image, layers, rectifiers = signals
        by_call = dict(zip(self.calls["gradient"], layers, strict=False))
        return Said(image, [f and by_call.get(f[0]) for f in self.found], rectifiers)

    def single(self, method):
        return self.told(self.reference.signals(self.calls[method], RULES[method]))

    def double(self, method):
        return self.told(self.reference.double().signals(self.calls[method], RULES[method]))

    def otherwise(self, method):
        return [self.told(s) for s in self.reference.single().otherwise(self.calls[method], RULES[method])]

    def disturbed(self, method):
        return [self.told(s) for s in self.reference.single().disturbed(self.calls[method], RULES[method])]
