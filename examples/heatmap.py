"""Runs a deployed classifier. After `whycam compile`, the same program finds heat maps among its outputs."""
import sys
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
image = np.load(sys.argv[2]).astype(np.float32)  # N×C×H×W, prepared
names = [output.name for output in session.get_outputs()]
for name, value in zip(names, session.run(None, {session.get_inputs()[0].name: image})):
    print(name, value.shape, value.min(), value.max())
    np.save(f"{name}.npy", value)
