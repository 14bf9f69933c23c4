"""Textures: decodes image files into pixels. All images are decoded here.

    pixels = decode(Path("wood.png").read_bytes(), "wood.png")     # [H, W, 4] uint8, row 0 at the top

Every image becomes 8-bit RGBA as a viewer shows it. 16-bit and float images are scaled, not clipped. Palettes and transparent colours
are applied. The EXIF orientation is ignored: glTF forbids it, and viewers of other formats ignore it too.

Letters: H x W pixels.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cache_schema.errors import UserError

PIXELS: Final = 16_384**2
"""Largest number of pixels that a texture may declare. Photogrammetry makes textures of 8,192 or 16,384 pixels in height and width."""

SIDE: Final = 2048
"""Largest height or width, in pixels, of a decoded texture. Larger textures are averaged down: no view shows more, and a scene may hold
fifty of them."""

FORMATS: Final = tuple("PNG JPEG WEBP AVIF GIF BMP DIB TIFF TGA DDS JPEG2000 PPM PSD ICO SGI PCX QOI".split())
"""Formats that Pillow may decode. EPS, for one, is left out: Pillow passes it to Ghostscript, which would run a program from the file."""

KTX2: Final = b"\xabKTX 20\xbb\r\n\x1a\n"
"""The first bytes of a KTX2 file, the container of GPU textures."""


def decode(data: bytes, name: str, *, exact: bool = False) -> NDArray[np.uint8]:
    """The pixels of an image file, `[H, W, 4]` uint8, averaged down to `SIDE` unless `exact`.

    Raises:
        UserError: the data are no image that can be read, damaged, or larger than `PIXELS`.
    """
    from PIL import Image, UnidentifiedImageError

    if data[: len(KTX2)] == KTX2:
        return _ktx2(data, name)
    try:
        with warnings.catch_warnings(), _limited():
            # Pillow warns about odd metadata and about images above half of `PIXELS`; neither is an error here.
            warnings.simplefilter("ignore")
            Image.init()
            image = Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN])
            return _pixels(image, max(image.size) if exact else SIDE)
    except UnidentifiedImageError as error:
        raise UserError(f"texture {name!r} is not an image that can be read; what can: {' '.join(FORMATS)} KTX2") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"texture {name!r} declares more than {PIXELS // 1_000_000} million pixels ({error})") from error
    except (UserError, MemoryError):
        raise
    except Exception as error:  # decoders raise errors of any type, and each means that the image is damaged
        raise UserError(f"texture {name!r} is damaged or cut short") from error


def with_alpha(texture: NDArray[np.uint8], alpha: NDArray[np.uint8], *, smooth: bool = True) -> NDArray[np.uint8]:
    """A picture `[H, W, 4]` uint8 with another alpha `[h, w]` uint8, in the larger of both sizes. `smooth`: alpha is interpolated."""
    size = (max(texture.shape[0], alpha.shape[0]), max(texture.shape[1], alpha.shape[1]))
    return np.dstack([resized(texture, size)[..., :3], resized(alpha, size, smooth=smooth)])


def resized(picture: NDArray[np.uint8], size: tuple[int, int], *, smooth: bool = True) -> NDArray[np.uint8]:
    """A picture `[h, w]` or `[h, w, 4]` uint8 in another size (H, W). `smooth`: values between pixels are interpolated."""
    from PIL import Image

    if picture.shape[:2] == size:
        return picture
    if picture.ndim == 3:
        # Each channel alone: Pillow would weight colours by alpha, and many opaque materials have pictures whose alpha is 0.
        return np.dstack([resized(channel, size, smooth=smooth) for channel in np.moveaxis(picture, 2, 0)])
    how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size[::-1], how))


def _pixels(image: Any, side: int) -> NDArray[np.uint8]:
    """A Pillow image as `[H, W, 4]` uint8, averaged down to `side` pixels in height and width.

    Raises:
        UserError: the image has no colours that can become RGB.
        Exception: the image is damaged. Each decoder has errors of its own.
    """
    image.load()
    shrink = -(-max(image.size) // side)
    if shrink > 1 and image.mode == "RGB" and "transparency" not in image.info:  # the usual large texture, without two copies of it
        color = np.asarray(image.reduce(shrink))
        return np.dstack([color, np.full(color.shape[:2], 255, np.uint8)])
    whole = _eight_bit(image)
    if shrink > 1:
        # Colour and alpha apart, as in `resized`.
        color, alpha = whole.convert("RGB").reduce(shrink), whole.getchannel("A").reduce(shrink)
        return np.dstack([np.asarray(color), np.asarray(alpha)])
    return np.asarray(whole)


def _eight_bit(image: Any) -> Any:
    """A loaded Pillow image of any mode, converted to RGBA.

    Raises:
        UserError: Pillow cannot convert this mode to RGB.
    """
    from PIL import Image

    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        try:
            return image.convert("RGBA")
        except ValueError as error:
            raise UserError(f"a texture has colours of the kind {image.mode}, which cannot be turned into RGB") from error
    # One channel of more than 8 bits, which Pillow would clip to 255.
    values = np.nan_to_num(np.asarray(image).astype(np.float64), posinf=0, neginf=0)
    most = values.max(initial=0)
    if image.mode == "F":
        full = 1.0 if most <= 1 else 255.0 if most <= 255 else 65535.0
    else:
        full = 65535.0 if image.mode != "I" or image.format == "PNG" or most > 255 else 255.0
    full = max(full, most) if image.mode == "I" else full
    grey = Image.fromarray(np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8))
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey.convert("RGBA")
    alpha = Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.merge("RGBA", (grey, grey, grey, alpha))


def _ktx2(data: bytes, name: str) -> NDArray[np.uint8]:
    """The pixels of a KTX2 file with a Basis Universal texture, the only kind that glTF allows.

    Raises:
        UserError: the texture is of another kind, damaged, or larger than `PIXELS`.
    """
    from PIL import Image

    try:
        import opengl_basisu
    except ImportError as error:  # no wheel exists for some machines
        raise UserError(f"texture {name!r} is a KTX2 file, for which the Python package opengl_basisu is missing") from error
    try:
        texture = opengl_basisu.open(data)
        width, height = texture.width, texture.height
        if width * height > PIXELS:
            raise UserError(f"texture {name!r} declares more than {PIXELS // 1_000_000} million pixels ({width} x {height})")
        found = np.asarray(texture.transcode("rgba8").data)
    except opengl_basisu.UnsupportedError as error:
        raise UserError(f"texture {name!r} is a KTX2 file that is not Basis Universal (ETC1S or UASTC): cannot be read") from error
    except opengl_basisu.BasisuError as error:
        raise UserError(f"texture {name!r}, a KTX2 file (KHR_texture_basisu), is damaged or cut short") from error
    return _pixels(Image.fromarray(np.ascontiguousarray(found)), SIDE)


@contextmanager
def _limited() -> Iterator[None]:
    """Within this context Pillow refuses images of more than `PIXELS` pixels."""
    from PIL import Image

    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = PIXELS // 2  # Pillow warns at this and raises at twice as much
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
