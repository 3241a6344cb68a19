"""`captum_occlusion.py MODEL IMAGE.npy STRIDE BATCH`: captum's Occlusion; prints seconds, patches and captum's version.

The time is that of the call alone, without importing PyTorch and making the network. captum's patches lie within the image,
so it has fewer of them than whycam at the same stride.
"""

import sys
import time
from pathlib import Path

import captum
import numpy as np
import torch
from captum.attr import Occlusion

sys.path.insert(0, str(Path(__file__).parent.parent / "speed"))
from peers import CLASS, build  # noqa: E402

model, image, stride, batch = sys.argv[1], torch.tensor(np.load(sys.argv[2])), *map(int, sys.argv[3:])
occlusion = Occlusion(build(model))
along = -(-(224 - 35) // stride) + 1
with torch.no_grad():
    start = time.perf_counter()
    occlusion.attribute(image, (3, 35, 35), strides=(3, stride, stride), target=CLASS, perturbations_per_eval=batch)
    print(time.perf_counter() - start, along * along, f"captum {captum.__version__}, torch {torch.__version__.split('+')[0]}")
