"""Small folders of pictures for tests: each class has a colour of its own, each picture a place and size of its own."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

COLOURS = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])


def pixels(label, number, width=40, height=30):
    """uint8 [height, width, 3], smooth, so that a JPEG keeps it; asymmetric, so that any turn shows."""
    rng = np.random.default_rng([label, number])
    y, x = np.mgrid[0:height, 0:width]
    waves = np.sin(x / width * rng.uniform(2, 9) + y / height * rng.uniform(2, 9))[..., None]
    slope = (x / width + 2 * y / height)[..., None] * 20
    return np.clip(COLOURS[label % 3] + 30 * waves + slope, 0, 255).astype(np.uint8)


def encoded(image, kind="JPEG", **settings):
    """The bytes of a file with this picture, an array or a Pillow image."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}), **settings)
    return file.getvalue()


def write_tree(root, train=6, val=3, classes=3):
    """``root/train/c0/0.jpg`` and so on; sizes differ from picture to picture."""
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"c{label}"
            folder.mkdir(parents=True)
            for k in range(count):
                seed = k if part == "train" else 1000 + k
                image = pixels(label, seed, 40 + 3 * (k % 5), 30 + 5 * (k % 4))
                (folder / f"{k}.jpg").write_bytes(encoded(image))
    return root
