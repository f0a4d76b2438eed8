#!/usr/bin/env python3
"""Remakes tests/golden/resize.bin with Pillow: pictures and what its resize() makes of them.

The width is resized first, as Pillow does up to version 12; 13 begins with the height where that shrinks more.

A case is six little-endian int32 (height, width, channels, target height, target width, filter in the order of
pastiche::Filter), the picture [H,W,C] and the result.
Usage: python tools/make_resize_golden.py (needs numpy, pillow).
"""
import pathlib
import struct

import numpy as np
from PIL import Image

FILTERS = [Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS]
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SIZES = [((17, 23), (40, 31)), ((31, 20), (7, 9)), ((16, 16), (16, 5)), ((9, 30), (33, 8)), ((1, 13), (4, 6))]


def picture(rng, height, width, channels):
    """Noise on one half and a ramp on the other: ringing and rounding both show."""
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    pixels[:, : width // 2, :] = np.linspace(0, 255, height * (width // 2)).reshape(height, -1, 1).astype(np.uint8)
    if channels == 4:
        pixels[: height // 3, :, 3] = 0
        pixels[height // 3 : height // 2, :, 3] = 255
    return pixels


def resize(image, height, width, resampling):
    """Width, then height, with colour premultiplied by alpha throughout."""
    inner = {"RGBA": "RGBa"}.get(image.mode, image.mode)
    premultiplied = image.convert(inner)
    wide = premultiplied.resize((width, image.height), resampling)
    return wide.resize((width, height), resampling).convert(image.mode)


def main():
    rng = np.random.default_rng(1)
    out = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/resize.bin"
    with out.open("wb") as file:
        for channels, mode in MODES.items():
            for (height, width), (to_height, to_width) in SIZES:
                pixels = picture(rng, height, width, channels)
                for number, resampling in enumerate(FILTERS):
                    image = Image.fromarray(pixels.squeeze(2) if channels == 1 else pixels, mode)
                    result = resize(image, to_height, to_width, resampling)
                    file.write(struct.pack("<6i", height, width, channels, to_height, to_width, number))
                    file.write(pixels.tobytes())
                    file.write(np.asarray(result).tobytes())


if __name__ == "__main__":
    main()
