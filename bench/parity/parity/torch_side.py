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
        self.calls, self.places = {}, None

    def export(self, exporter, path):
        if not path.exists():
            export(self.net, self.tensors, exporter, path, self.entry.opset, list(self.inputs), list(self.entry.outputs) or None)

    def find(self, values):
        """Per value the places where PyTorch computes it: a list of `(place, layout)`."""
        self.reference = Reference(self.net, self.tensors, self.score)
        self.found = self.reference.find(values) if values else []
        self.calls = {"gradient": sorted({call for found in self.found for call, _, _ in found}), "guided-backprop": []}
        return [[(place, layout) for _, place, layout in found] for found in self.found]

    def mend(self):
        """Where PyTorch's gradient is none, by finite differences: whether it is one with batch norms from their formula, which
        are those of the reference from now on."""
        if self.reference.double().is_gradient(self.double("gradient").image):
            self.reference = self.reference.single()
            return False
        self.reference = Reference(self.net, self.tensors, self.score, written_norms=True)
        mended = self.reference.double().is_gradient(self.double("gradient").image)
        self.reference = Reference(self.net, self.tensors, self.score, written_norms=mended).single()
        return mended

    def told(self, signals):
        """By value instead of by call."""
        image, layers, rectifiers = signals
        by_call = dict(zip(self.calls["gradient"], layers, strict=False))
        return Said(image, [[by_call.get(call) for call, _, _ in found] for found in self.found], rectifiers)

    def single(self, method):
        return self.told(self.reference.signals(self.calls[method], RULES[method]))

    def double(self, method):
        return self.told(self.reference.double().signals(self.calls[method], RULES[method]))

    def otherwise(self, method):
        return [self.told(s) for s in self.reference.single().otherwise(self.calls[method], RULES[method])]

    def disturbed(self, method):
        return [self.told(s) for s in self.reference.single().disturbed(self.calls[method], RULES[method])]
