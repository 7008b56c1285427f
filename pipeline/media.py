"""Pictures in and out: photos read with care, and small helpers for pixels. Videos are in :mod:`pipeline.video`.

A photo from a stranger is looked at before it is decoded: the kind from its first bytes, the size from its header. Only
JPEG, PNG and WebP are decoded; orientation is applied, colour profiles are turned into sRGB, and metadata is dropped.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.types import Array, PipelineError
from pipeline.video import VideoInfo, VideoReader, VideoWriter, read_video

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "from_uint8",
    "hash_pixels",
    "load_photo",
    "read_video",
    "save_image",
    "to_uint8",
]

MAX_PIXELS = 40_000_000
MAX_BYTES = 100_000_000
MIN_SIDE = 64
MAX_SIDE = 4096
"""Larger photos are shrunk to this long side on reading; the crop that is used later is 1024 pixels high."""
BACKDROP = 0.5
"""Transparent pixels are laid on this neutral grey."""
FORMATS = ("JPEG", "PNG", "WEBP")


def to_uint8(image: Array) -> Array:
    """Float in 0..1 to uint8, rounded; uint8 passes through."""
    if image.dtype == np.uint8:
        return image
    return np.clip(np.rint(np.asarray(image, np.float32) * 255), 0, 255).astype(np.uint8)


def from_uint8(image: Array) -> Array:
    """uint8 to float32 in 0..1."""
    return image.astype(np.float32) / 255


def hash_pixels(image: Array) -> str:
    """SHA-256 (hex) of a picture's shape and 8-bit pixels: the same for the same picture in any file format."""
    pixels = np.ascontiguousarray(to_uint8(image))
    digest = hashlib.sha256(str(pixels.shape).encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def load_photo(source: str | os.PathLike[str] | Image.Image | Array) -> Array:
    """Read a photo of a stranger.

    Args:
        source: path of a JPEG, PNG or WebP file; or a PIL image; or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4),
            uint8, uint16, or float in 0..1.

    Returns:
        (H, W, 3) float32 sRGB in 0..1, upright, on neutral grey where it was transparent, at most ``MAX_SIDE`` long.

    Raises:
        PipelineError: when the file is missing, not such a picture, damaged, animated, too small or too large.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (str, os.PathLike)):
        return _from_file(Path(source))
    _check_header(source)
    return _decode(source)


def _from_file(path: Path) -> Array:
    from PIL import Image

    data = _read_bytes(path)
    _check_kind(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # _check_header has the tighter bound
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise _too_large() from error
        except (OSError, SyntaxError, ValueError) as error:
            raise _damaged() from error
        with picture:
            _check_header(picture)
            return _decode(picture)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise PipelineError(f"'{path.name}' is a folder; give the path of one JPEG, PNG or WebP photo.")
        if path.stat().st_size > MAX_BYTES:
            raise PipelineError(f"The file is larger than {MAX_BYTES // 1_000_000} MB; use a smaller photo.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PipelineError(f"There is no file '{path}'; check the path of the photo.") from error
    except (OSError, ValueError) as error:
        raise PipelineError(f"The photo '{path.name}' cannot be read; check its name and permissions.") from error


def _check_kind(data: bytes) -> None:
    """Tell what a file is from its first bytes, never from its name."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        raise PipelineError("The file is empty; use a JPEG, PNG or WebP photo.")
    if data[:6] in (b"GIF87a", b"GIF89a"):
        raise PipelineError("GIF files are not taken, animated or not; use a JPEG, PNG or WebP photo.")
    if head.startswith((b"<?xml", b"<svg", b"<!doctype")) or b"<svg" in head:
        raise PipelineError("This is a drawing or text file, not a photo; use a JPEG, PNG or WebP photo.")
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif"):
        raise PipelineError("HEIC and AVIF photos are not taken; export the photo as JPEG and try again.")
    known = data[:3] == b"\xff\xd8\xff" or data[:8] == b"\x89PNG\r\n\x1a\n" or data[:4] + data[8:12] == b"RIFFWEBP"
    if not known:
        raise PipelineError("This file is not a picture of a known kind; use a JPEG, PNG or WebP photo.")


def _too_large() -> PipelineError:
    return PipelineError(f"The picture has more than {MAX_PIXELS // 1_000_000} million pixels; use a smaller one.")


def _damaged() -> PipelineError:
    return PipelineError("The picture is damaged or incomplete; save or download it again.")


def _check_header(picture: Image.Image) -> None:
    """Bound the work before any pixel is decoded."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large()
    if min(width, height) < MIN_SIDE:
        raise PipelineError(
            f"The picture is only {width}x{height} pixels; use a photo of at least 512 pixels on a side."
        )
    if getattr(picture, "is_animated", False) and picture.format != "MPO":  # MPO: a JPEG with a depth map or thumbnail
        raise PipelineError("This picture is animated; use a still JPEG, PNG or WebP photo.")


def _decode(picture: Image.Image) -> Array:
    from PIL import Image, ImageOps

    try:
        picture.load()
        profile = picture.info.get("icc_profile")
        with contextlib.suppress(Exception):  # a broken EXIF block must not cost the photo
            picture = ImageOps.exif_transpose(picture)
        rgb, alpha = _to_rgb(picture, profile)
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        raise _damaged() from error
    if alpha is not None:
        rgb = rgb * alpha[..., None] + BACKDROP * (1 - alpha[..., None])
    return _bounded(rgb)


def _to_rgb(picture: Image.Image, profile: bytes | None) -> tuple[Array, Array | None]:
    """Pixels (H, W, 3) and, where there is transparency, alpha (H, W), both float32 in 0..1."""
    if picture.mode.startswith(("I", "F")):
        grey = np.asarray(picture, np.float32) / (65535 if picture.mode.startswith("I") else 1)
        return np.repeat(np.clip(grey, 0, 1)[..., None], 3, axis=2), None
    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    if has_alpha:
        rgba = from_uint8(np.asarray(picture.convert("RGBA")))
        return rgba[..., :3], rgba[..., 3]
    return from_uint8(np.asarray(_to_srgb(picture, profile))), None


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Apply an embedded colour profile; without one, or with a broken one, convert plainly."""
    from PIL import ImageCms

    if picture.mode in ("1", "P", "PA"):
        picture = picture.convert("RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if turned is not None:
                return turned
    return picture.convert("RGB")


def _from_array(pixels: Array) -> Array:
    """Check and normalise an array given by a program."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise PipelineError(f"The picture has shape {pixels.shape}; give (height, width, 3) RGB.")
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise PipelineError(f"The picture is only {pixels.shape[1]}x{pixels.shape[0]} pixels; use a larger photo.")
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise _too_large()
    scale = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(pixels.dtype, 1)
    if scale == 1 and not np.issubdtype(pixels.dtype, np.floating):
        raise PipelineError(f"The picture has {pixels.dtype} pixels; give uint8, uint16 or float in 0..1.")
    image = np.asarray(pixels, np.float32) / scale
    if not np.isfinite(image).all() or image.min() < -1e-3 or image.max() > 1 + 1e-3:
        raise PipelineError("The picture has values outside 0..1; give uint8, uint16 or float in 0..1.")
    if image.shape[2] == 4:
        image = image[..., :3] * image[..., 3:] + BACKDROP * (1 - image[..., 3:])
    return _bounded(np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image)


def _bounded(image: Array) -> Array:
    """Shrink to ``MAX_SIDE``; always a fresh contiguous float32 array in 0..1."""
    longest = max(image.shape[:2])
    if longest > MAX_SIDE:
        import cv2

        size = (round(image.shape[1] * MAX_SIDE / longest), round(image.shape[0] * MAX_SIDE / longest))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.clip(image, 0, 1), np.float32)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary sibling of ``path`` that takes its place when the block ends well and vanishes when it does not.

    Raises:
        PipelineError: when the folder cannot be written to or the disk is full.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise PipelineError(f"Cannot write to '{target.parent}': {error.strerror}; choose another folder.") from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise PipelineError(f"Cannot write '{target}': {error.strerror or error}; free some space.") from error
    finally:
        temporary.unlink(missing_ok=True)


def save_image(path: str | os.PathLike[str], image: Array, **options: Any) -> None:
    """Write a PNG, JPEG or WebP file, by suffix; nothing half-written stays behind.

    Args:
        image: (H, W), (H, W, 3) or (H, W, 4), uint8 or float in 0..1.
        options: passed on to Pillow's ``save`` (``quality`` and the like).

    Raises:
        PipelineError: when the file cannot be written.
    """
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(to_uint8(image)).save(temporary, **options)
