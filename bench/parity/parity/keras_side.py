"""A Keras model of the zoo, which lives in another Python: the one with TensorFlow that KERAS_PYTHON names."""

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx

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
            onnx.checker.check_model(path)  # tf2onnx writes operators that it does not know into the file as they are
        except (RuntimeError, onnx.checker.ValidationError) as error:
            raise CannotExport(" ".join(str(error).split())) from None
        made = np.load(self.folder / "made.npz")
        self.inputs = self.feed = {"image": made["x"]}
        self.target = f"class:{int(made['target'])}"

    def find(self, values):
        self.shapes = [np.shape(value) for value in values]
        np.savez(self.folder / "values.npz", **{f"v{i}": v for i, v in enumerate(values)})
        self.work("answer", self.folder)
        self.answer = dict(np.load(self.folder / "answer.npz"))
        self.again = None

        def places(i):
            for at, place in enumerate(self.answer[f"places.v{i}"]):
                perm = tuple(int(p) for p in self.answer[f"perm.v{i}.{at}"])
                yield str(place), (perm or None, self.shapes[i])

        return [list(places(i)) for i in range(len(values))]

    def said(self, method, run, answer):
        def at(i):
            return [tuple(answer.get(f"{k}.v{i}.{n}.{run}") for k in "ag") for n in range(len(self.answer[f"places.v{i}"]))]

        return Said(answer[f"{method}.{run}"].transpose(0, 3, 1, 2), [at(i) for i in range(len(self.shapes))])  # maps are channels first

    def single(self, method):
        return self.said(method, "float32", self.answer)

    def double(self, method):
        return self.said(method, "float64", self.answer)

    def otherwise(self, method):
        return self.unsure(method, "near")

    def disturbed(self, method):
        return self.unsure(method, "disturbed")

    def unsure(self, method, kind):
        if self.again is None:
            self.work("unsure", self.folder)
            self.again = dict(np.load(self.folder / "unsure.npz"))
        runs = [key.removeprefix(f"{method}.") for key in self.again if key.startswith(f"{method}.{kind}")]
        return [self.said(method, run, self.again) for run in runs]

    def mend(self):
        return False
