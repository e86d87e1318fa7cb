"""Every kind of image is read as it is, written back as it was, and scaled as the model needs it."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from data_helpers import mask, picture, save
from PIL import Image

from defectaug.errors import DataError, OutputError
from defectaug.io.images import (
    NativeImage,
    as_channels,
    probe,
    quantise,
    read_image,
    resize_float,
    to_model,
    write_png,
)
from defectaug.io.masks import is_black_and_white, read_mask, write_mask

GREY = picture(1)
RGB = picture(2, channels=3)
DEEP = GREY.astype(np.uint16) * 257 - (GREY > 0)  # its values need 16 bits


def read_back(path: Path, image: NativeImage) -> NativeImage:
    write_png(path, image)
    return read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp"])
@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_lossless_formats(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    path = tmp_path / f"x{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    image = read_image(path)
    keeps_grey = suffix != ".webp"
    expected = pixels if keeps_grey else as_channels(pixels, 3)
    assert np.array_equal(image.pixels, expected) and image.alpha is None
    assert image.pixels.dtype == np.uint8 and image.white == 255
    assert image.channels == probe(path).channels == (1 if expected.ndim == 2 else 3)


@pytest.mark.parametrize("pixels", [GREY, RGB], ids=["grey", "rgb"])
def test_jpeg(tmp_path: Path, pixels: np.ndarray) -> None:
    image = read_image(save(tmp_path / "x.JPG", pixels))
    assert image.pixels.shape == pixels.shape
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 12


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_stays_16_bit(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"x{suffix}", DEEP)
    image = read_image(path)
    assert image.pixels.dtype == np.uint16 and image.white == 65535 and image.channels == 1
    assert np.array_equal(image.pixels, DEEP)
    assert (probe(path).bits, probe(path).channels) == (16, 1)
    again = read_back(tmp_path / "again.png", image)
    assert np.array_equal(again.pixels, DEEP)
    with Image.open(tmp_path / "again.png") as written:
        assert written.mode == "I;16"


def deep_png(path: Path, pixels: np.ndarray) -> Path:
    """A PNG of 16 bits a channel: grey with opacity, colour, or colour with opacity; Pillow writes none."""
    height, width, channels = pixels.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def deep_tiff(path: Path, pixels: np.ndarray) -> Path:
    """A TIFF of 16 bits a channel, (H, W, 3)."""
    height, width, channels = pixels.shape
    content = pixels.astype("<u2").tobytes()
    tags = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 8 + len(content)), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(content)),
    ]  # fmt: skip
    bits = struct.pack("<HHH", 16, 16, 16)
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + b"\0\0\0\0"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(content) + len(bits)) + content + bits + table)
    return path


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_colour_or_opacity_is_refused_by_name(tmp_path: Path, channels: int) -> None:
    """Pillow would give 8 bits of it without a word."""
    paths = [deep_png(tmp_path / "deep.png", np.dstack([DEEP] * channels))]
    if channels == 3:
        paths.append(deep_tiff(tmp_path / "deep.tif", np.dstack([DEEP] * channels)))
    for path in paths:
        for look in (read_image, probe):
            with pytest.raises(DataError, match=rf"{path.name}: .*16 bits.*save it with 8 bits") as raised:
                look(path)
            assert "\n" not in str(raised.value)


def test_big_endian_16_bit_tiff(tmp_path: Path) -> None:
    Image.frombytes("I;16B", DEEP.shape[::-1], DEEP.astype(">u2").tobytes()).save(tmp_path / "x.tif")
    assert np.array_equal(read_image(tmp_path / "x.tif").pixels, DEEP)


def test_32_bit_and_float_tiff(tmp_path: Path) -> None:
    save(tmp_path / "int.tif", DEEP.astype(np.int32))
    assert np.array_equal(read_image(tmp_path / "int.tif").pixels, DEEP)
    save(tmp_path / "unit.tif", (DEEP / 65535).astype(np.float32))
    assert np.array_equal(read_image(tmp_path / "unit.tif").pixels, DEEP)
    for name, values in (("high", GREY * 3.5), ("nan", np.full((4, 4), np.nan)), ("low", GREY / 255 - 1)):
        path = save(tmp_path / f"{name}.tif", values.astype(np.float32))
        with pytest.raises(DataError, match="outside 0 to 1"):
            read_image(path)
    with pytest.raises(DataError, match="outside 0 to 65535"):
        read_image(save(tmp_path / "negative.tif", DEEP.astype(np.int32) - 40000))


@pytest.mark.parametrize("colour", [GREY, RGB], ids=["grey", "rgb"])
def test_alpha_is_kept(tmp_path: Path, colour: np.ndarray) -> None:
    alpha = picture(3)
    image = read_image(save(tmp_path / "x.png", np.dstack([colour, alpha])))
    assert np.array_equal(image.pixels, colour)
    again = read_back(tmp_path / "again.png", image)
    assert np.array_equal(again.pixels, colour)
    assert again.alpha is not None and np.array_equal(again.alpha, alpha)
    assert probe(tmp_path / "again.png").mode == ("LA" if colour.ndim == 2 else "RGBA")


def test_palettes(tmp_path: Path) -> None:
    coloured = Image.fromarray(RGB).quantize(16)
    coloured.save(tmp_path / "colour.png")
    image = read_image(tmp_path / "colour.png")
    assert np.array_equal(image.pixels, np.asarray(coloured.convert("RGB")))
    assert probe(tmp_path / "colour.png").channels == 3

    grey = Image.fromarray(255 - GREY).convert("P")
    grey.putpalette([value for step in range(255, -1, -1) for value in (step,) * 3])
    grey.save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png").pixels, GREY)
    assert probe(tmp_path / "grey.png").channels == 1

    coloured.save(tmp_path / "clear.png", transparency=0)
    clear = read_image(tmp_path / "clear.png")
    assert clear.alpha is not None and np.array_equal(clear.alpha == 0, np.asarray(coloured) == 0)


def test_cmyk_and_one_bit(tmp_path: Path) -> None:
    plain = np.full((20, 24, 3), (200, 60, 30), np.uint8)
    Image.fromarray(plain).convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    image = read_image(tmp_path / "x.jpg")
    assert image.pixels.shape == plain.shape and np.abs(image.pixels.astype(int) - plain).max() < 12
    Image.fromarray(mask()).convert("1").save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png").pixels, mask())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation_is_obeyed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    upright = np.zeros((20, 30), np.uint8)
    upright[:10, :10] = 255  # white top left
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.rot90(upright).copy()).save(path, exif=exif)
    pixels = as_channels(read_image(path).pixels, 1)[..., 0]
    assert pixels.shape == (20, 30)
    assert np.abs(pixels - upright).mean() < 5
    if suffix != ".png":  # its header does not tell
        assert probe(path).size == (30, 20)


def test_unreadable_files_are_named_with_the_reason(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", picture(4, 200, 200))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.bmp").write_text("no image")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    damaged = bytearray(whole.read_bytes())
    damaged[60:90] = bytes(30)
    (tmp_path / "damaged.png").write_bytes(damaged)
    for name, reason in (
        ("cut.png", "truncated"),
        ("empty.jpg", "empty"),
        ("text.bmp", "no known image format"),
        ("dangling.png", "no such file"),
        ("none.png", "no such file"),
        ("damaged.png", ""),
    ):
        with pytest.raises(DataError) as error:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(error.value) and reason in str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="empty"):
        probe(tmp_path / "empty.jpg")
    assert probe(tmp_path / "cut.png").size == (200, 200)  # the header is whole


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match="too large"):
        read_image(path)


def test_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "old.png", GREY)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match=r"old\.png.*no space left"):
        write_png(tmp_path / "old.png", NativeImage(255 - GREY))
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert np.array_equal(read_image(tmp_path / "old.png").pixels, GREY)


def test_writing_into_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_png(tmp_path / "file" / "x.png", NativeImage(GREY))


def test_written_files_have_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_png(tmp_path / "new folder" / "x.png", NativeImage(GREY))
    assert (tmp_path / "new folder" / "x.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert len(list((tmp_path / "new folder").iterdir())) == 1


def test_masks(tmp_path: Path) -> None:
    write_mask(tmp_path / "x.png", mask() > 0)
    assert np.array_equal(read_image(tmp_path / "x.png").pixels, mask())
    assert np.array_equal(read_mask(tmp_path / "x.png"), mask() > 0)
    numbered = save(tmp_path / "numbered.png", mask() // 255 * 3 + mask(top=12) // 255)
    assert np.array_equal(read_mask(numbered), (mask() + mask(top=12)) > 0)
    faint = np.clip(mask(), 40, 255)  # compression leaves greys
    assert np.array_equal(read_mask(save(tmp_path / "faint.png", faint)), mask() > 0)
    assert is_black_and_white(tmp_path / "x.png")
    assert not is_black_and_white(save(tmp_path / "photo.png", GREY))


def test_to_model_spans_minus_one_to_one() -> None:
    white = np.full((7, 9), 4095, np.uint16)
    assert np.array_equal(to_model(white, 8, 3, 4095), np.ones((3, 8, 8), np.float32))
    assert np.array_equal(to_model(white * 0, 8, 1, 4095), -np.ones((1, 8, 8), np.float32))
    assert to_model(RGB, 16, 3, 255).dtype == np.float32


def test_to_model_averages_where_it_shrinks() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert np.abs(to_model(board, 16, 1, 255)).max() < 0.1  # taking single pixels would give -1 and 1


def test_to_model_squeezes_the_whole_image_without_a_shift() -> None:
    halves = np.zeros((40, 80), np.uint8)
    halves[:, 40:] = 255
    squeezed = to_model(halves, 16, 1, 255)[0]
    assert np.allclose(squeezed, -squeezed[:, ::-1], atol=1e-5)
    assert squeezed[0, 0] == -1 and squeezed[-1, -1] == 1


def test_colour_to_grey_and_back() -> None:
    assert np.allclose(as_channels(np.full((2, 2, 3), (255, 0, 0), np.uint8), 1), 0.299 * 255)
    grey = to_model(GREY, 16, 3, 255)
    assert np.array_equal(grey[0], grey[1]) and np.array_equal(grey[0], to_model(GREY, 16, 1, 255)[0])


def test_quantise_and_resize() -> None:
    assert quantise(np.array([-1, 0, 0.5, 1, 2]), np.uint8).tolist() == [0, 0, 128, 255, 255]
    assert quantise(np.array([1.0]), np.uint16, 4095).tolist() == [4095]
    ramp = np.linspace(0, 1, 10, dtype=np.float32)[None].repeat(4, 0)
    assert resize_float(ramp, (8, 30)).shape == (8, 30)
    assert resize_float(np.dstack([ramp, ramp]), (2, 5)).shape == (2, 5, 2)
    assert abs(resize_float(ramp, (4, 5)).mean() - 0.5) < 1e-3
    same = resize_float(ramp, (4, 10))
    assert np.array_equal(same, ramp) and same is not ramp
