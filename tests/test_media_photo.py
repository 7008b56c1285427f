"""Photos of strangers: what is taken, what is refused, and in how many words."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.media import MAX_SIDE, from_uint8, hash_pixels, load_photo, save_image, to_uint8
from pipeline.types import PipelineError


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A smooth colourful picture, 160 wide and 120 high, brighter to the right, redder to the bottom."""
    y, x = np.mgrid[:120, :160] / np.array([119, 159]).reshape(2, 1, 1)
    return Image.fromarray(to_uint8(np.stack([y, 0.5 * x + 0.2, x], -1)))


def saved(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def refused(path: Path | np.ndarray, *words: str) -> None:
    """Loading fails with one sentence that holds all ``words``."""
    with pytest.raises(PipelineError) as caught:
        load_photo(path)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message and len(message) < 200
    for word in words:
        assert word.lower() in message.lower(), message


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_plain_formats(tmp_path: Path, picture: Image.Image, suffix: str) -> None:
    image = load_photo(saved(tmp_path / f"a.{suffix}", picture))
    assert image.shape == (120, 160, 3) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert np.abs(image - from_uint8(np.asarray(picture))).mean() < 0.02


def test_suffix_does_not_matter(tmp_path: Path, picture: Image.Image) -> None:
    path = saved(tmp_path / "a.png", picture)
    renamed = path.rename(tmp_path / "a.jpg")
    assert load_photo(renamed).shape == (120, 160, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path: Path, picture: Image.Image, orientation: int) -> None:
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # EXIF code: Pillow's transpose that undoes the display turn
    stored = picture.transpose(turns[orientation]) if orientation > 1 else picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_photo(saved(tmp_path / "a.png", stored, exif=exif))
    assert image.shape == (120, 160, 3)
    assert np.abs(image - from_uint8(np.asarray(picture))).max() < 0.01


def test_cmyk_jpeg(tmp_path: Path, picture: Image.Image) -> None:
    image = load_photo(saved(tmp_path / "a.jpg", picture.convert("CMYK")))
    assert np.abs(image - from_uint8(np.asarray(picture))).mean() < 0.05


def test_sixteen_bit_png(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 128).astype(np.uint16), (80, 1))
    image = load_photo(saved(tmp_path / "a.png", Image.fromarray(ramp)))
    assert image.shape == (80, 128, 3)
    assert np.allclose(image[0, :, 0], ramp[0] / 65535, atol=1e-3)
    assert np.array_equal(image[..., 0], image[..., 2])


def test_palette_and_grey(tmp_path: Path, picture: Image.Image) -> None:
    palette = load_photo(saved(tmp_path / "p.png", picture.convert("P", palette=Image.Palette.ADAPTIVE)))
    grey = load_photo(saved(tmp_path / "g.png", picture.convert("L")))
    assert np.abs(palette - from_uint8(np.asarray(picture))).mean() < 0.05
    assert grey.shape == (120, 160, 3) and np.array_equal(grey[..., 0], grey[..., 1])


def test_transparency_goes_on_neutral_grey(tmp_path: Path, picture: Image.Image) -> None:
    clear = picture.copy()
    mask = Image.new("L", picture.size, 255)
    mask.paste(0, (0, 0, 80, 120))
    clear.putalpha(mask)
    image = load_photo(saved(tmp_path / "a.png", clear))
    assert np.allclose(image[:, :80], 0.5, atol=1e-3)
    assert np.allclose(image[:, 80:], from_uint8(np.asarray(picture))[:, 80:], atol=1e-3)


def test_broken_colour_profile_is_survived(tmp_path: Path, picture: Image.Image) -> None:
    image = load_photo(saved(tmp_path / "a.png", picture, icc_profile=b"not a profile"))
    assert np.abs(image - from_uint8(np.asarray(picture))).max() < 0.01


def test_large_photo_is_shrunk() -> None:
    image = load_photo(np.zeros((100, MAX_SIDE + 904, 3), np.uint8))
    assert image.shape[1] == MAX_SIDE and image.shape[0] == round(100 * MAX_SIDE / (MAX_SIDE + 904))


def test_pil_and_array_sources(picture: Image.Image) -> None:
    expected = from_uint8(np.asarray(picture))
    assert np.array_equal(load_photo(picture), expected)
    assert np.array_equal(load_photo(np.asarray(picture)), expected)
    assert np.allclose(load_photo(expected), expected)
    refused(np.full((100, 100, 3), np.nan, np.float32), "values")
    refused(np.full((100, 100, 3), 7.0, np.float32), "0..1")
    refused(np.zeros((100, 100, 2), np.uint8), "shape")
    refused(np.zeros((10, 100, 3), np.uint8), "10")


def header_bomb(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_refusals(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "a.png"
    refused(tmp_path / "absent.png", "no file")
    refused(tmp_path, "folder")
    for data, word in (
        (b"", "empty"),
        (b"hello world, I am a text", "JPEG, PNG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing"),
        (b"<?xml version='1.0'?><svg/>", "drawing"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 40, "HEIC"),
        (header_bomb(50_000, 50_000), "million pixels"),
        (header_bomb(9_000, 9_000), "million pixels"),
        (header_bomb(200, 200), "damaged"),
    ):
        path.write_bytes(data)
        refused(path, word)
    refused(saved(path, Image.new("RGB", (1, 1))), "1x1")
    refused(saved(path, Image.new("RGB", (40, 400))), "40x400")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8))
    path = saved(tmp_path / f"a.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "again")


def test_animations(tmp_path: Path, picture: Image.Image) -> None:
    other = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    options = {"save_all": True, "append_images": [other], "duration": 100}
    refused(saved(tmp_path / "a.gif", picture, **options), "GIF")
    refused(saved(tmp_path / "a.webp", picture, **options), "animated")
    refused(saved(tmp_path / "a.png", picture, **options), "animated")


def test_hash_follows_pixels_not_files(tmp_path: Path, picture: Image.Image) -> None:
    png = load_photo(saved(tmp_path / "a.png", picture))
    webp = load_photo(saved(tmp_path / "a.webp", picture, lossless=True))
    assert hash_pixels(png) == hash_pixels(webp) and len(hash_pixels(png)) == 64
    changed = png.copy()
    changed[0, 0, 0] = 1 - changed[0, 0, 0]
    assert hash_pixels(changed) != hash_pixels(png)
    assert hash_pixels(png) != hash_pixels(png.reshape(160, 120, 3))


def test_save_image_round_trip_without_leftovers(tmp_path: Path, picture: Image.Image) -> None:
    path = tmp_path / "out" / "a.png"
    save_image(path, from_uint8(np.asarray(picture)))
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(picture))
    with pytest.raises(Exception):  # noqa: B017 - whatever Pillow raises, no file stays
        save_image(tmp_path / "out" / "b.png", np.zeros((4, 4, 7)))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png"]


def test_save_image_into_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(PipelineError, match="another folder"):
        save_image(tmp_path / "file" / "a.png", np.zeros((4, 4, 3)))


def test_metadata_is_dropped(tmp_path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    image = load_photo(saved(tmp_path / "a.jpg", picture, exif=exif))
    save_image(tmp_path / "b.png", image)
    assert b"secret" not in (tmp_path / "b.png").read_bytes()
    assert not Image.open(io.BytesIO((tmp_path / "b.png").read_bytes())).getexif()
