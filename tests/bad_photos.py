"""Photos that will not do, and odd ones that must: made here, byte by byte where it matters."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def png_header_bomb(path: Path, side: int = 50_000) -> Path:
    """A PNG of a few bytes whose header promises ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def unreadable_photos(folder: Path, photo: Path) -> dict[str, Path]:
    """Files that are no usable picture, by what is wrong with them."""
    person = Image.open(photo).convert("RGB")
    files = {
        name: folder / name for name in ("text.jpg", "cut.png", "dot.png", "moving.gif", "drawing.svg", "none.jpg")
    }
    files["text.jpg"].write_text("this is no picture")
    files["cut.png"].write_bytes(photo.read_bytes()[:20_000])
    Image.new("RGB", (1, 1)).save(files["dot.png"])
    person.save(files["moving.gif"], save_all=True, append_images=[person.rotate(5)])
    files["drawing.svg"].write_text('<svg xmlns="http://www.w3.org/2000/svg" width="512" height="512"/>')
    files["bomb.png"] = png_header_bomb(folder / "bomb.png")
    files["empty.jpg"] = folder / "empty.jpg"
    files["empty.jpg"].touch()
    return files


def unusable_pictures(folder: Path, photo: Path) -> dict[str, Path]:
    """Readable pictures that no avatar can be made from, by what is wrong with them."""
    import skimage

    person = Image.open(photo).convert("RGB")
    upper = person.crop((60, 0, 400, 512))
    made = {
        "nobody": Image.open(Path(skimage.__file__).parent / "data" / "coffee.png").convert("RGB"),
        "two people": Image.fromarray(np.hstack([np.asarray(upper)] * 2)),
        "too small": _padded(person.resize((180, 180)), (420, 420)),
        "only a face": person.crop((165, 40, 285, 190)).resize((480, 600), Image.Resampling.BICUBIC),
    }
    made["cartoon"] = cartoon()
    made["poster"] = poster(person)
    made["from behind"] = Image.fromarray(dressed_body(behind=True))
    return {name: _saved(image, folder / f"{name.replace(' ', '_')}.png") for name, image in made.items()}


def cartoon() -> Image.Image:
    """A person as children draw one."""
    from PIL import ImageDraw

    image = Image.new("RGB", (600, 900), (250, 250, 245))
    draw = ImageDraw.Draw(image)
    draw.ellipse((200, 100, 400, 320), fill=(255, 220, 60), outline=(0, 0, 0), width=6)
    for x in (250, 350):
        draw.ellipse((x - 25, 170, x + 25, 220), fill=(255, 255, 255), outline=(0, 0, 0), width=4)
        draw.ellipse((x - 8, 188, x + 8, 204), fill=(0, 0, 0))
    draw.arc((250, 220, 350, 290), 20, 160, fill=(180, 30, 30), width=8)
    draw.rounded_rectangle((210, 320, 390, 640), 30, fill=(60, 120, 220), outline=(0, 0, 0), width=6)
    for points in ((215, 350, 110, 560), (385, 350, 490, 560), (260, 640, 250, 860), (340, 640, 350, 860)):
        draw.line(points, fill=(0, 0, 0), width=14)
    return image


def poster(photo: Image.Image) -> Image.Image:
    """A photo turned into a drawing of ten flat colours, in which the detectors still see the person."""
    from PIL import ImageFilter

    smooth = photo.filter(ImageFilter.MedianFilter(5))
    flat = smooth.quantize(10, dither=Image.Dither.NONE).convert("RGB")
    return flat.filter(ImageFilter.MedianFilter(5))


def dressed_body(behind: bool, size: tuple[int, int] = (480, 640)) -> np.ndarray:
    """The open body with painted clothes and hair, standing, (H, W, 3) uint8; seen from the front or from behind."""
    from pipeline.body import load_body
    from pipeline.body.studio import colours, look_at, pose
    from pipeline.render import shaded

    body = load_body()
    arms_down = np.zeros((21, 3), np.float32)
    arms_down[15, 2], arms_down[16, 2] = -1.2, 1.2
    vertices, joints = pose(body, body_pose=arms_down)
    rest, paint = body.v_template.numpy(), colours(body)
    head_back = body.regions["scalp"].numpy() | ((rest[:, 2] < 0) & body.regions["head"].numpy())
    shirt, trousers = (0.20, 0.30, 0.55), (0.25, 0.25, 0.28)
    for region, colour in (("torso", shirt), ("left_arm", shirt), ("right_arm", shirt), ("legs", trousers)):
        paint[body.regions[region].numpy()] = colour
    paint[head_back] = (0.20, 0.13, 0.09)
    camera = look_at(joints[9], np.array([0, 0, -1.0 if behind else 1.0]), np.array([0, 1.0, 0]), 1.1, size)
    rng = np.random.default_rng(0)
    wall = np.linspace(0.7, 0.8, size[1])[:, None, None] + np.zeros((size[1], size[0], 3), np.float32)
    image = shaded(vertices, body.faces.numpy(), camera, paint, background=wall)
    return (np.clip(image + rng.normal(0, 0.01, image.shape), 0, 1) * 255).round().astype(np.uint8)


def odd_photos(folder: Path, photo: Path) -> dict[str, Path]:
    """Photos in unusual clothes, all of which must be read as the same person, upright."""
    person = Image.open(photo).convert("RGB")
    files = {}
    files["cmyk"] = folder / "cmyk.jpg"
    person.convert("CMYK").save(files["cmyk"], quality=95)
    files["palette"] = _saved(person.convert("P", palette=Image.Palette.ADAPTIVE, colors=256), folder / "palette.png")
    files["16 bit"] = folder / "deep.png"
    deep_png(files["16 bit"], np.asarray(person).astype(np.uint16) * 257)
    files["turned"] = folder / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise for viewing
    person.transpose(Image.Transpose.ROTATE_90).save(files["turned"], exif=exif, quality=95)
    return files


def deep_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) uint16 as a 16-bit PNG, which Pillow cannot."""
    import cv2

    assert cv2.imwrite(str(path), pixels[..., ::-1])


def _saved(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path


def _padded(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    out = Image.new("RGB", size, (200, 200, 205))
    out.paste(image, ((size[0] - image.width) // 2, size[1] - image.height))
    return out
