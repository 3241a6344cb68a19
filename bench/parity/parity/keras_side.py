"""A Keras model of the zoo, which lives in another Python: the one with TensorFlow that KERAS_PYTHON names."""

import os
import subprocess
from pathlib import Path

import numpy as np

from .export import CannotExport
from .said import Said

PYTHON = os.environ.get("KERAS_PYTHON", "")


class KerasSide:
    finite = True

    def __init__(self, entry, seed):
        self.entry, self.seed, self.target, self.places = entry, seed, "of the model", None

    def work(self, command, *more):
        args = [PYTHON, Path(__file__).parent / "keras_worker.py", command, self.entry.name, self.entry.shape[2], self.seed, *more]
        done = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])

    def export(self, _, path):
        self.folder = path.parent
        try:
            self.work("make", path, self.folder)
        except RuntimeError as error:
            raise CannotExport(str(error)) from None
        made = np.load(self.folder / "made.npz")
        self.inputs = self.feed = {"image": made["x"]}
        self.target = f"class:{int(made['target'])}"

    def find(self, values):
        self.count = len(values)
        np.savez(self.folder / "values.npz", **{f"v{i}": v for i, v in enumerate(values)})
        self.work("answer", self.folder)
        self.answer = dict(np.load(self.folder / "answer.npz"))

        def place(i):
            if f"place.v{i}" not in self.answer:
                return []
            perm = tuple(int(p) for p in self.answer[f"perm.v{i}"])
            return [(str(self.answer[f"place.v{i}"]), (perm or None, values[i].shape))]

        return [place(i) for i in range(self.count)]

    def said(self, method, dtype):
        at = [[tuple(self.answer.get(f"{k}.v{i}.{dtype}") for k in "ag")] for i in range(self.count)]
        return Said(self.answer[f"{method}.{dtype}"].transpose(0, 3, 1, 2), at)  # maps are channels first

    def single(self, method):
        return self.said(method, "float32")

    def double(self, method):
        return self.said(method, "float64")

    def otherwise(self, method):
        return []

    disturbed = otherwise

    def mend(self):
        return False
