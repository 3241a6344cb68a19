#!/usr/bin/env python3
"""Small pictures for tests/load.rs: one scene, 32 × 16 pixels, in the forms that photos come in.

    pip install pillow==13.0.0
    python make_pictures.py      # writes the files beside this one

Scene: top left (200, 40, 40), top right (40, 200, 40), bottom left (40, 40, 200), bottom right (200, 200, 40).
"""

import pathlib
import struct
import zlib

from PIL import Image

HERE = pathlib.Path(__file__).parent
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]

scene = Image.new("RGB", (32, 16))
for index, colour in enumerate(COLOURS):
    left, top = 16 * (index % 2), 8 * (index // 2)
    scene.paste(colour, (left, top, left + 16, top + 8))


def save(image, name, **options):
    image.save(HERE / name, **options)


best = {"quality": 95, "subsampling": 0}
save(scene, "baseline.jpg", **best)
save(scene, "progressive.jpg", progressive=True, **best)
save(scene.convert("CMYK"), "cmyk.jpg", quality=95)
# Stored turned; the orientation tag turns it back: to be shown it must be turned clockwise by 90°.
exif = Image.Exif()
exif[0x0112] = 6
turned = scene.transpose(Image.Transpose.ROTATE_90)
save(turned, "turned.jpg", exif=exif, **best)
save(turned, "turned.png", exif=exif)
save(turned, "turned.webp", exif=exif, lossless=True)
save(scene, "lossy.webp", quality=95)
save(scene, "animated.webp", save_all=True, append_images=[Image.new("RGB", scene.size)], lossless=True)
alpha = scene.convert("RGBA")
alpha.putalpha(Image.linear_gradient("L").resize(scene.size))
save(alpha, "alpha.png")
save(scene.quantize(4), "palette.png")
save(Image.linear_gradient("L").resize(scene.size), "grey.png")
save(Image.linear_gradient("L").resize(scene.size), "grey.jpg", quality=95)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


# 16 bits a sample, which Pillow does not write in colour: one row of two pixels.
deep = struct.pack(">B6H", 0, 0xFFFF, 0x8000, 0x00FF, 0x0000, 0x0080, 0x1234)
(HERE / "deep.png").write_bytes(png(2, 1, 16, 2, deep))
# Headers that promise far more than the file holds, or nothing.
(HERE / "bomb.png").write_bytes(png(30000, 30000, 1, 0, b"\0" * 1000))
(HERE / "wide.png").write_bytes(png(1 << 24, 1, 1, 0, b"\0" * 1000))
(HERE / "empty.png").write_bytes(png(0, 5, 8, 0, b""))
