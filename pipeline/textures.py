"""Pictures that colour a surface: from the bytes of an image file to pixels. The only file that decodes images.

pixels = decode(Path("wood.png").read_bytes(), "wood.png")     # [H, W, 4] uint8, row 0 at the top
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from cache_schema.errors import UserError

PIXELS: Final = 64_000_000
"""A texture that declares more pixels than this is not decoded."""

SIDE: Final = 2048
"""Larger textures are averaged down: no view shows more, and a scene may hold fifty of them."""


def decode(data: bytes, name: str) -> np.ndarray:
    """The pixels of an image file, `[H, W, 4]` uint8.

    Raises:
        UserError: it is no image that can be read, damaged, or larger than `PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with limited():
            return pixels(Image.open(io.BytesIO(data)))
    except UnidentifiedImageError as error:
        raise UserError(f"texture {name!r} is not an image that can be read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"texture {name!r} declares more than {PIXELS // 1_000_000} million pixels ({error})") from error


def pixels(image: Any) -> np.ndarray:
    """A Pillow image as `[H, W, 4]` uint8, averaged down to `SIDE`.

    Raises:
        UserError: it is damaged.
    """
    try:
        image.load()
        shrink = -(-max(image.size) // SIDE)
        return np.asarray(image.convert("RGBA").reduce(shrink))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(f"a texture is damaged or cut short ({error})") from error


@contextmanager
def limited() -> Iterator[None]:
    """Pillow refuses images of more than `PIXELS` pixels for a while."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = PIXELS // 2  # Pillow warns at this and raises at twice as much
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
