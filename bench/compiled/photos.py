"""The committed photos as models take them."""

from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parents[2] / "examples/photos"
IMAGENET = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
LITE = [127] * 3, [128] * 3


def photos(model=""):
    """Each photo's middle square, `[3,224,224]`, normalised as torchvision does, or as EfficientNet-Lite does."""
    mean, std = LITE if "lite" in model else IMAGENET
    for file in sorted(FOLDER.glob("*.jpg")):
        photo = Image.open(file).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.resize((224, 224), Image.BILINEAR, (left, top, left + side, top + side))
        yield ((np.asarray(photo, np.float32) - mean) / std).transpose(2, 0, 1).astype(np.float32)
