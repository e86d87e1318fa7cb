"""Image files as they come from cameras, other programs and broken disks, all made here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageDraw

SIZE = (40, 30)
Make = Callable[[], bytes]


def photo(mode: str = "L", size: tuple[int, int] = SIZE) -> Image.Image:
    """A smooth picture with an edge in it."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    planes = [np.uint8(255 * (x + k * y) / (1 + k)) for k in range(3)]
    image = Image.fromarray(np.dstack(planes))
    ImageDraw.Draw(image).line((0, 0, *size), fill=(250, 10, 90), width=2)
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file's bytes."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def deep(kind: str = "PNG") -> bytes:
    return encoded(Image.fromarray(np.asarray(photo()) * np.uint16(257)), kind)


def floats(values: np.ndarray) -> bytes:
    return encoded(Image.fromarray(values.astype(np.float32)), "TIFF")


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    changed = ImageCms.profileToProfile(photo("RGB"), *profiles, outputMode="LAB")
    assert changed is not None
    return changed


def with_exif(orientation: int, size: tuple[int, int] = SIZE) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo("RGB", size), "JPEG", exif=exif)


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    """A PNG that says it is this large and holds next to nothing."""
    ihdr = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return png[:33] + chunk(kind, body) + png[33:]


def text_bomb() -> bytes:
    """A few kilobytes that unpack to 200 MB of text."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(200)) + packer.flush()
    return with_chunk(encoded(photo(), "PNG"), b"zTXt", b"Comment\0\0" + body)


def true_bomb() -> bytes:
    """A valid PNG of 20,000 x 20,000 black pixels in some 50 kB."""
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(2501 * 200)) for _ in range(100)) + packer.flush()
    ihdr = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def webp_bomb() -> bytes:
    """An extended WebP header that claims the largest canvas, in front of a small picture."""
    body = encoded(photo("RGB"), "WEBP", lossless=True)[12:]
    canvas = struct.pack("<I", 16_382)[:3] * 2
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([0, 0, 0, 0]) + canvas
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(body)) + b"WEBP" + extended + body


def _transparent_palette() -> bytes:
    image = photo("P")
    return encoded(image, "PNG", transparency=bytes(range(256)))


def _animated(kind: str) -> bytes:
    frames = [photo("RGB"), photo("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


GOOD: dict[str, Make] = {
    "grey.png": lambda: encoded(photo(), "PNG"),
    "grey16.png": deep,
    "grey16.tif": lambda: deep("TIFF"),
    "bit.png": lambda: encoded(photo("1"), "PNG"),
    "bit.tif": lambda: encoded(photo("1"), "TIFF", compression="group4"),
    "palette.png": lambda: encoded(photo("P"), "PNG"),
    "palette-alpha.png": _transparent_palette,
    "rgb.png": lambda: encoded(photo("RGB"), "PNG"),
    "rgba.png": lambda: encoded(photo("RGBA"), "PNG"),
    "grey-alpha.png": lambda: encoded(photo("LA"), "PNG"),
    "rgb.bmp": lambda: encoded(photo("RGB"), "BMP"),
    "rgb.webp": lambda: encoded(photo("RGB"), "WEBP"),
    "rgba.webp": lambda: encoded(photo("RGBA"), "WEBP", lossless=True),
    "rgb.jpg": lambda: encoded(photo("RGB"), "JPEG"),
    "grey.jpg": lambda: encoded(photo(), "JPEG"),
    "progressive.jpg": lambda: encoded(photo("RGB"), "JPEG", progressive=True),
    "cmyk.jpg": lambda: encoded(photo("CMYK"), "JPEG"),
    "cmyk.tif": lambda: encoded(photo("CMYK"), "TIFF"),
    "ycbcr.tif": lambda: encoded(photo("YCbCr"), "TIFF"),
    "lzw.tif": lambda: encoded(photo("RGB"), "TIFF", compression="tiff_lzw"),
    "jpeg.tif": lambda: encoded(photo("RGB"), "TIFF", compression="jpeg"),
    "packbits.tif": lambda: encoded(photo(), "TIFF", compression="packbits"),
    "float.tif": lambda: floats(np.asarray(photo()) / 255),
    "pages.tif": lambda: _animated("TIFF"),
    "animated.webp": lambda: _animated("WEBP"),
    "animated.png": lambda: _animated("PNG"),
    "pictures.jpg": lambda: _animated("MPO"),
    "wrong-suffix.png": lambda: encoded(photo("RGB"), "JPEG"),
    "wrong-suffix.jpg": lambda: encoded(photo("RGB"), "PNG"),
    "icc.png": lambda: with_chunk(encoded(photo("RGB"), "PNG"), b"iCCP", b"x\0\0" + zlib.compress(b"broken")),
    "icc.jpg": lambda: encoded(photo("RGB"), "JPEG", icc_profile=b"no profile at all"),
    "exif.jpg": lambda: encoded(photo("RGB"), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200))),
    "exif.png": lambda: with_chunk(encoded(photo(), "PNG"), b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "exif-odd.jpg": lambda: with_exif(77),
    "black.png": lambda: encoded(Image.new("L", SIZE), "PNG"),
    "one-pixel.png": lambda: encoded(Image.new("L", (1, 1), 90), "PNG"),
    "line.png": lambda: encoded(photo("L", (20_000, 1)), "PNG"),
    "column.tif": lambda: encoded(photo("L", (1, 20_000)), "TIFF"),
    "lab.tif": lambda: encoded(lab(), "TIFF"),
} | {f"turned-{k}.jpg": (lambda k=k: with_exif(k)) for k in range(1, 9)}
"""Files that must be read, as (30, 40) pixels where their name does not say otherwise."""

BAD: dict[str, Make] = {
    "empty.png": lambda: b"",
    "zeros.png": lambda: bytes(5000),
    "text.jpg": lambda: b"Not an image.\n",
    "cut.png": lambda: encoded(photo("RGB", (200, 200)), "PNG")[:300],
    "cut.jpg": lambda: encoded(photo("RGB", (400, 400)), "JPEG")[:1500],
    "cut.tif": lambda: encoded(photo("RGB", (200, 200)), "TIFF")[:2000],
    "cut.webp": lambda: encoded(photo("RGB", (200, 200)), "WEBP", lossless=True)[:200],
    "cut.bmp": lambda: encoded(photo("RGB", (200, 200)), "BMP")[:2000],
    "bomb.png": true_bomb,
    "claims.png": lambda: png_header(20_000, 20_000),
    "claims-most.png": lambda: png_header(0x7FFFFFFF, 0x7FFFFFFF),
    "claims-little-too-much.png": lambda: png_header(12_000, 12_000),
    "claims.webp": webp_bomb,
    "no-size.png": lambda: png_header(0, 0),
    "nan.tif": lambda: floats(np.full((30, 40), np.nan)),
    "infinite.tif": lambda: floats(np.full((30, 40), np.inf)),
    "range.tif": lambda: floats(np.linspace(-5, 900, 1200).reshape(30, 40)),
    "text-chunk.png": text_bomb,
    "postscript.png": lambda: encoded(photo("RGB"), "EPS"),
    "other.png": lambda: encoded(photo("P"), "GIF"),
}
"""Files that must be refused in one line."""


def seeds() -> dict[str, bytes]:
    """Small valid files of every kind, to be mutated."""
    return {name: make() for name, make in GOOD.items() if name not in ("line.png", "column.tif")}


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Files with flipped, overwritten, cut, repeated or exchanged bytes; the same for the same seed."""
    rng = np.random.default_rng(seed)
    files = seeds()
    names = sorted(files)
    for number in range(count):
        name = names[number % len(names)]
        content = bytearray(files[name])
        for _ in range(int(rng.integers(1, 4))):
            content = _mutate(content, files[names[int(rng.integers(len(names)))]], rng)
        yield name, bytes(content)


INTERESTING = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\x80\0", b"\x01")


def _mutate(content: bytearray, other: bytes, rng: np.random.Generator) -> bytearray:
    if not content:
        return bytearray(other)
    # headers and tables steer decoders, so half of the changes go there
    at = int(rng.integers(min(len(content), 200) if rng.random() < 0.5 else len(content)))
    kind = rng.integers(6)
    if kind == 0:
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        content[at : at + 4] = INTERESTING[rng.integers(len(INTERESTING))]
    elif kind == 2:
        content[at : at + int(rng.integers(1, 20))] = rng.bytes(int(rng.integers(0, 20)))
    elif kind == 3:
        del content[at:]
    elif kind == 4:
        start = int(rng.integers(len(content)))
        content[at:at] = content[start : start + int(rng.integers(1, 200))]
    else:
        start = int(rng.integers(len(other)))
        content[at : at + 60] = other[start : start + 60]
    return content
