"""Decoding, encoding and scaling of images. Arrays keep the file's colour mode and bit depth."""

from __future__ import annotations

import hashlib
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray
from PIL import ExifTags, Image

from defectaug.errors import DataError
from defectaug.io.atomic import write_atomic

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
GREY_MODES = ("1", "L", "LA", "La", "F", *SIXTEEN_BIT)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
COMPRESSION = 4  # zlib level: half the time of the default 6 for a few per cent more bytes
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")  # Pillow knows more, and runs other programs for some
MAX_PIXELS = 1 << 27
"""Larger images are refused, which bounds the memory for decoding one: 16 bytes a pixel, 2 GiB."""

_DEEP = re.compile(r"(RGB\w?|LA|La|CMYK);16[BLN]")  # Pillow decodes these to 8 bits without a word

# What Pillow's decoders raise on damaged files.
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, MemoryError, AssertionError,
    AttributeError, RuntimeError, BufferError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an EXIF orientation."""


@dataclass(frozen=True)
class NativeImage:
    """A decoded image as its file holds it.

    Args:
        pixels: (H, W) grey or (H, W, 3) RGB, uint8 or uint16.
        alpha: (H, W) opacity of the same type, or None.
    """

    pixels: NDArray
    alpha: NDArray | None = None

    @property
    def white(self) -> int:
        """The largest value that the pixel type holds: 255 or 65535."""
        return int(np.iinfo(self.pixels.dtype).max)

    @property
    def nbytes(self) -> int:
        """Of the arrays, in memory."""
        return self.pixels.nbytes + (0 if self.alpha is None else self.alpha.nbytes)

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return 1 if self.pixels.ndim == 2 else 3

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class Header:
    """What a file says about its image before decoding.

    Args:
        size: (width, height) as shown, that is, after EXIF orientation.
        mode: Pillow's name of the colour mode.
        bits: bits a channel.
        channels: 1 for grey, 3 for colour.
    """

    size: tuple[int, int]
    mode: str
    bits: int
    channels: int


def read_image(path: Path) -> NativeImage:
    """Decodes a PNG, JPEG, BMP, TIFF or WebP file; the first frame where there are several.

    Palettes become RGB, or grey where all their colours are; CMYK becomes RGB; 1 bit becomes 8; float TIFFs
    with values in [0, 1] become 16-bit grey. EXIF orientation is applied.

    Raises:
        DataError: the file is missing, damaged, too large or of a kind that is not understood, such as 16-bit
            colour.
    """
    with _opened(path) as image:
        image.load()
        turn = _TURNS.get(_orientation(image))
        return _native(image if turn is None else image.transpose(turn), path)


def probe(path: Path) -> Header:
    """Reads an image file's header without decoding the image.

    Raises:
        DataError: as `read_image`, so far as the header shows it.
    """
    with _opened(path) as image:
        # PNG may keep EXIF data behind the pixels; looking for them would decode the image
        turned = image.format != "PNG" and _orientation(image) >= 5
        width, height = image.size
        if image.format == "TIFF":  # Pillow's size is before or after turning, depending on its version; the tags tell
            exif = image.getexif()
            width, height = int(exif[ExifTags.Base.ImageWidth]), int(exif[ExifTags.Base.ImageLength])
        bits = 1 if image.mode == "1" else 16 if image.mode in SIXTEEN_BIT else 32 if image.mode == "F" else 8
        grey = image.mode in GREY_MODES or (image.mode == "P" and _has_grey_palette(image))
        return Header((height, width) if turned else (width, height), image.mode, bits, 1 if grey else 3)


def write_png(path: Path, image: NativeImage) -> None:
    """Writes a PNG file of the image's own mode, bit depth and opacity, whole or not at all.

    Raises:
        OutputError: no space, no permission or another failure of the file system.
        ValueError: 16-bit colour or 16-bit opacity, which Pillow cannot write and `read_image` refuses.
    """
    pixels = image.pixels
    if pixels.dtype == np.uint16 and (pixels.ndim == 3 or image.alpha is not None):
        raise ValueError("16-bit images are written in grey without opacity only")
    if image.alpha is not None:
        pixels = np.dstack([pixels, image.alpha])
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    write_atomic(path, lambda file: picture.save(file, format="PNG", compress_level=COMPRESSION))


def pixel_hash(image: NativeImage) -> str:
    """Hash of the decoded pixels, their size and depth: equal for equal images in whatever file format."""
    head = f"{image.pixels.shape}{image.pixels.dtype}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(image.pixels).tobytes()).hexdigest()


def white_of(image: NativeImage, white: int) -> int:
    """The white level of one image in a data set whose 16-bit files have `white`."""
    return image.white if image.white == 255 or white <= 255 else white


def picture(image: NativeImage, side: int, white: int) -> NDArray[np.uint8]:
    """An image to look at, at most `side` pixels wide and high: (H, W) or (H, W, 3); `white` as of `white_of`."""
    scale = min(1.0, side / max(image.size))
    size = max(1, round(image.size[0] * scale)), max(1, round(image.size[1] * scale))
    values = as_channels(image.pixels, image.channels) / np.float32(white_of(image, white))
    small = quantise(resize_float(values, size), np.uint8)
    return small[..., 0] if image.channels == 1 else small


def to_model(pixels: NDArray, size: int, channels: int, white: int) -> NDArray[np.float32]:
    """Squeezes a whole image to the model's square, as the paper does.

    Args:
        pixels: (H, W) or (H, W, 3), values 0 to `white`.
        size: edge of the square.
        channels: 1 or 3; colour is weighed to grey, grey repeated to colour.
        white: the value that becomes 1.

    Returns:
        (channels, size, size) in [-1, 1].
    """
    values = resize_float(as_channels(pixels, channels), (size, size))
    return np.clip(values * np.float32(2 / white) - 1, -1, 1).transpose(2, 0, 1)


def as_channels(pixels: NDArray, channels: int) -> NDArray[np.float32]:
    """(H, W) or (H, W, 3) as (H, W, channels) float32, values unchanged."""
    values = pixels.astype(np.float32)
    if values.ndim == 2:
        return np.repeat(values[..., None], channels, axis=2)
    return values if channels == 3 else (values @ LUMA)[..., None]


def resize_float(array: NDArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """Resizes by linear interpolation, averaging over the covered area where it shrinks.

    Args:
        array: (H, W) or (H, W, C).
        size: (height, width) of the result.
    """
    array = np.asarray(array, np.float32)
    if array.shape[:2] == tuple(size):
        return array.copy()
    if array.ndim == 3:
        return np.stack([resize_float(array[..., k], size) for k in range(array.shape[2])], axis=2)
    # Pillow widens the triangle filter when it shrinks, which is the averaging
    shrunk = Image.fromarray(np.ascontiguousarray(array)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(shrunk)


def quantise(values: NDArray, dtype: DTypeLike, white: int | None = None) -> NDArray:
    """Values in [0, 1] as whole numbers of `dtype`, 1 becoming `white` (default: the type's largest)."""
    top = np.iinfo(dtype).max if white is None else white
    return np.rint(np.clip(values, 0, 1) * top).astype(dtype)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for, a device read without end
            raise DataError(f"{path}: not a file")
        # Opened here, since Pillow maps named files to memory and then misreads turned TIFFs
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MemoryError
            if _DEEP.match(_raw_mode(image)):
                raise DataError(
                    f"{path}: colour or opacity of 16 bits, of which 8 would be lost; save it with 8 bits, or as "
                    "16-bit grey"
                )
            yield image
    except _DECODE_ERRORS as error:
        raise DataError(f"{path}: cannot be read as an image ({_why(error, path)})") from error


def _raw_mode(image: Image.Image) -> str:
    """Pillow's name of the layout that the file's pixels have, such as "RGB;16B", before it decodes them."""
    tiles = getattr(image, "tile", None)  # of decoded files alone
    arguments = tiles[0][3] if tiles else ""
    raw = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw if isinstance(raw, str) else ""


def _why(error: BaseException, path: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, Image.UnidentifiedImageError):
        return "the file is empty" if path.stat().st_size == 0 else "no known image format"
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        return f"too large to decode; {MAX_PIXELS // 10**6} megapixels are the limit"
    return " ".join(str(error).split()) or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; upright where the EXIF data are broken, since the pixels may be whole."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _native(image: Image.Image, path: Path) -> NativeImage:
    if image.mode in SIXTEEN_BIT or image.mode == "F":
        return NativeImage(_deep_grey(np.asarray(image), path))
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    grey = image.mode in GREY_MODES or (image.mode == "P" and _has_grey_palette(image))
    if image.mode == "La":  # Pillow unmultiplies only between these two
        image = image.convert("LA")
    if transparent:
        pixels = np.asarray(image if image.mode == "RGBA" else image.convert("RGBA"))
        colour, alpha = pixels[..., :3], pixels[..., 3].copy()
        return NativeImage(np.ascontiguousarray(colour[..., 0] if grey else colour), alpha)
    mode = "L" if grey else "RGB"
    return NativeImage(np.array(image if image.mode == mode else image.convert(mode)))


def _deep_grey(values: NDArray, path: Path) -> NDArray[np.uint16]:
    """16-bit grey from 16-bit, 32-bit or float values."""
    if values.dtype.kind == "f":
        if np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
            return quantise(values, np.uint16)
        raise DataError(f"{path}: float image with values outside 0 to 1; save it with 8 or 16 bits")
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{path}: 32-bit image with values outside 0 to 65535; save it with 8 or 16 bits")
    return values.astype(np.uint16)


def _has_grey_palette(image: Image.Image) -> bool:
    palette = np.asarray(image.getpalette("RGB") or [0, 0, 0], np.uint8).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())
