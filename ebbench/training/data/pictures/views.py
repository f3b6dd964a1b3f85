"""What a network sees of one picture, made with Pillow: upright, RGB, cut out and brought to a square. Never imports torch.

Every view is a pure function of the file's bytes, the side of the square, and, for training, of a key and the picture's number.
"""

from __future__ import annotations

import hashlib
import io
import math
import struct
import warnings
from typing import List, NamedTuple, Optional

import numpy as np
from PIL import Image

#: part of a picture's area that a random cut takes, and its width over its height, as the ImageNet networks are trained with
AREA, SHAPE = (0.08, 1.0), (3 / 4, 4 / 3)
#: cuts that may stick out before the middle is taken
ATTEMPTS = 10
#: for evaluation the shorter side becomes this much longer than the square (256 for 224) that is cut from the middle
MARGIN = 256 / 224
#: a JPEG decoder may leave out detail as long as a cut still has this many times the side of the square
OVERSAMPLING = 2

_ORIENTATION = 0x0112  # the EXIF tag
_Turn = getattr(Image, "Transpose", Image)  # Pillow before 9.1 keeps them in the module
_BILINEAR = getattr(Image, "Resampling", Image).BILINEAR
_TURNS = {
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}
#: pixels that can be taken as RGB, and what to call those that are not
_GREY, _OTHER = ("1", "L", "LA"), ("CMYK", "YCbCr", "P", "RGBA")

warnings.simplefilter("error", Image.DecompressionBombWarning)


class Unreadable(Exception):
    """A file that is no picture, or not one that can be taken; the message says why."""


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Picture:
    """An encoded picture: `width` and `height` as it stands upright, `kind` where it needs care (None: plain RGB)."""

    def __init__(self, content: bytes) -> None:
        self._image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        if self._image.mode not in ("RGB", *_GREY, *_OTHER):
            raise Unreadable(f"its pixels are {self._image.mode}; 8 bits per colour are needed")
        self._turn = _TURNS.get(self._image.getexif().get(_ORIENTATION, 1))
        self.width, self.height = self._image.size
        if self._turn is not None and self._turn not in (
            _Turn.FLIP_LEFT_RIGHT,
            _Turn.ROTATE_180,
            _Turn.FLIP_TOP_BOTTOM,
        ):
            self.width, self.height = self.height, self.width

    @property
    def kind(self) -> List[str]:
        """In what it differs from an upright RGB picture: ``grey``, the name of its mode, ``turned``."""
        mode = self._image.mode
        kinds = ["grey"] if mode in _GREY else [] if mode == "RGB" else [mode]
        return kinds + (["turned"] if self._turn is not None else [])

    def decode(self, least_scale: float = 1.0) -> Image.Image:
        """All of it, upright and RGB; smaller by a half, a quarter or an eighth where `least_scale` allows that."""
        image = self._image
        if least_scale < 1:
            image.draft(None, tuple(math.ceil(length * least_scale) for length in image.size))
        image.load()
        if image.mode == "P":  # its transparency may be one value per colour
            image = image.convert("RGBA")
        if image.mode != "RGB":
            image = image.convert("RGB")
        return image if self._turn is None else image.transpose(self._turn)

    def cut(self, box: Box, side: int) -> Image.Image:
        """That part of it, at least `OVERSAMPLING` times `side` pixels wide and high, or as large as it is."""
        image = self.decode(OVERSAMPLING * side / min(box.width, box.height))
        across, down = image.width / self.width, image.height / self.height
        left, right = (round(x * across) for x in (box.left, box.left + box.width))
        top, bottom = (round(y * down) for y in (box.top, box.top + box.height))
        return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def training_view(content: bytes, side: int, key: bytes, number: int) -> np.ndarray:
    """A random part of the picture, squeezed into a square and mirrored half of the time: uint8 [side, side, 3]."""
    picture = Picture(content)
    image = picture.cut(random_box(key, number, picture.width, picture.height), side)
    image = image.resize((side, side), _BILINEAR)
    return np.asarray(image.transpose(_Turn.FLIP_LEFT_RIGHT) if is_mirrored(key, number) else image)


def evaluation_view(content: bytes, side: int) -> np.ndarray:
    """The middle of the picture, whose shorter side is `MARGIN` times the square: uint8 [side, side, 3]."""
    picture = Picture(content)
    short, shorter = min(picture.width, picture.height), round(side * MARGIN)
    size = [int(shorter * length / short) for length in (picture.width, picture.height)]
    image = picture.decode(OVERSAMPLING * shorter / short).resize((size[0], size[1]), _BILINEAR)
    left, top = (round((length - side) / 2) for length in size)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def random_box(key: bytes, number: int, width: int, height: int) -> Box:
    """A part of random area and shape at a random place; the middle, as large as it may be, where ten of them stick out."""
    for attempt in range(ATTEMPTS):
        area, shape, across, down = _draws(key, number, attempt)
        pixels = width * height * (AREA[0] + area * (AREA[1] - AREA[0]))
        ratio = math.exp(math.log(SHAPE[0]) + shape * (math.log(SHAPE[1]) - math.log(SHAPE[0])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(across * (width - w + 1)), int(down * (height - h + 1)), w, h)
    w, h = min(width, max(round(height * SHAPE[1]), 1)), min(height, max(round(width / SHAPE[0]), 1))
    return Box((width - w) // 2, (height - h) // 2, w, h)


def is_mirrored(key: bytes, number: int) -> bool:
    """Half of the time."""
    return _draws(key, number, ATTEMPTS)[0] < 0.5


def draw_key(seed: int, phase: str, epoch: int) -> bytes:
    """The key of all draws of an epoch."""
    return hashlib.blake2b(f"{seed} {epoch} {phase}".encode(), digest_size=32).digest()


def _draws(key: bytes, number: int, attempt: int) -> List[float]:
    """Four numbers in [0, 1) of 53 bits. A hash, since a generator would take longer to seed than a picture has."""
    digest = hashlib.blake2b(struct.pack("<QQ", number, attempt), key=key, digest_size=32).digest()
    return [(word >> 11) * 2.0**-53 for word in struct.unpack("<4Q", digest)]


def look_at(content: bytes) -> Optional[List[str]]:
    """The `kind` of a picture that can be decoded to its end. Raises `Unreadable` for any other, with the reason."""
    if not content:
        raise Unreadable("it is empty")
    try:
        picture = Picture(content)
        picture.decode(least_scale=1e-9)
    except Unreadable:
        raise
    except Image.DecompressionBombWarning:
        raise Unreadable(f"it has more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels") from None
    except Exception as error:
        reason = "it is no JPEG or PNG" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise Unreadable(" ".join(reason.split()) or type(error).__name__) from error
    return picture.kind
