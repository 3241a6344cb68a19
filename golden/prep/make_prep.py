#!/usr/bin/env python3
"""Expected tensors of photo preparation, made with Pillow and numpy as torchvision does it.

    pip install numpy==2.4.6 pillow==13.0.0
    python make_prep.py          # writes prep.json beside this file

The photo is computed, not stored: 64 × 48 pixels, a gradient with noise from a linear congruential generator (seed 2016).
crates/whycam/tests/prep_golden.rs computes the same one and compares.
"""

import json
import pathlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT, SEED = 64, 48, 2016


def photo():
    state, samples = SEED, []
    for y in range(HEIGHT):
        for x in range(WIDTH):
            for gradient in (4 * x, 5 * y, 255 - 2 * (x + y)):
                state = (state * 1664525 + 1013904223) % 2**32
                samples.append(min(255, max(0, gradient + (state >> 26) - 32)))
    return np.array(samples, np.uint8).reshape(HEIGHT, WIDTH, 3)


def short(image, size):
    """torchvision.transforms.Resize(int): the short side exactly, the long side rounded down."""
    width, height = image.size
    return (size, size * height // width) if width <= height else (size * width // height, size)


def centre_crop(image, width, height):
    """torchvision.transforms.CenterCrop: Python's round, half to even."""
    left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
    return image.crop((left, top, left + width, top + height))


def tensor(image, white, mean, std, bgr=False):
    samples = np.asarray(image).astype(np.float32)
    samples = samples[:, :, None] if samples.ndim == 2 else samples
    samples = samples[:, :, ::-1] if bgr else samples
    scaled = samples / np.float32(255) if white == 1 else samples
    return ((scaled - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)


rgb = photo()
image = Image.fromarray(rgb)
bilinear, bicubic = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
imagenet = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

cases = {
    # The preset's proportions, 256 to 224, at 16: 256 · 16 / 224 = 18.29, so 18.
    "imagenet": tensor(centre_crop(image.resize(short(image, 18), bilinear), 16, 16), 1, *imagenet),
    "efficientnet-lite": tensor(centre_crop(image.resize(short(image, 18), bicubic), 16, 16), 255, 127, 128),
    "caffe": tensor(image.resize((16, 16), bilinear), 255, [103.939, 116.779, 123.68], 1, bgr=True),
    # Enlarged; an odd rest of 19 above the input is split half to even.
    "resize=short:61:filter=bicubic": tensor(centre_crop(image.resize(short(image, 61), bicubic), 16, 16), 1, 0, 1),
    # Not resized at all.
    "resize=none": tensor(centre_crop(image, 16, 16), 1, 0, 1),
}
shapes = {name: (16, 16) for name in cases}
# An input that is not square: the photo just covers it.
cases["resize=short:10:mean=0.5"] = tensor(centre_crop(image.resize((20, 15), bilinear), 20, 10), 1, 0.5, 1)
shapes["resize=short:10:mean=0.5"] = (10, 20)

weights = np.arange(1, rgb.size + 1, dtype=np.uint64)
out = {
    "checksum": int((rgb.reshape(-1).astype(np.uint64) * weights).sum() % 2**32),
    "cases": [
        {"prep": name, "height": shapes[name][0], "width": shapes[name][1], "values": [round(float(v), 6) for v in values.reshape(-1)]}
        for name, values in cases.items()
    ],
}
pathlib.Path(__file__).with_name("prep.json").write_text(json.dumps(out) + "\n")
