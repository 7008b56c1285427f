"""Avatars for other programs: Gaussian PLY in any pose, still and moving pictures, a web page with the 3D view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.types import Array, BodyParams, MotionClip, PipelineError

if TYPE_CHECKING:
    from pipeline.animation import View
    from pipeline.avatar import Avatar
    from pipeline.provenance import Stamp

SH_C0 = 0.28209479177387814
"""The constant spherical harmonic: a 3DGS file stores (colour - 0.5) / SH_C0."""
OPACITY_LOGIT = 10.0
"""Opacity 1 has no logit; this is 0.99995."""
MAX_MOVING_SECONDS = 20.0
MOVING_FPS = 20.0
"""A GIF counts in hundredths of a second, so only some rates are exact."""
SUFFIXES = (".ply", ".avatar", ".png", ".jpg", ".gif", ".webp", ".html")

PLY_FIELDS = (
    "x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip


def export(
    avatar: Avatar,
    out: str | Path,
    *,
    motion: MotionClip | None = None,
    frame: int = 0,
    view: View | None = None,
    amplitude: float = 1.0,
    progress: Callable[[str, float], None] | None = None,
) -> Path:
    """Write an avatar in the form that the ending of ``out`` asks for.

    Args:
        avatar: whom.
        out: ``.ply`` (Gaussians in one pose), ``.png`` or ``.jpg`` (a still), ``.gif`` or ``.webp`` (moving, up to 20
            s), ``.html`` (the 3D view as one page), ``.avatar`` (the avatar itself).
        motion: what it does; the photo's own pose without one.
        frame: which frame of the motion, at its own rate, from 0; for one pose.
        view: camera, background, label and size of pictures.
        amplitude: size of the movement, 0..1.5.
        progress: called with a stage and the share of it that is done.

    Raises:
        PipelineError: unknown ending, frame outside the motion, or a file that cannot be written.
    """
    out, tell = Path(out), progress or (lambda stage, share: None)
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise PipelineError(f"'{out.name}' cannot be exported; its name must end in one of {', '.join(SUFFIXES)}.")
    if suffix == ".avatar":
        return avatar.save(out)
    if suffix == ".ply":
        return write_ply(avatar, pose_at(avatar, motion, frame, amplitude), out)
    if suffix == ".html":
        return _write_page(avatar, motion, out, amplitude)
    from pipeline.animation import View

    view = view or View()
    if suffix in (".gif", ".webp"):
        if motion is None:
            raise PipelineError("A moving picture needs a motion; name one with --motion.")
        return write_moving(avatar, motion, out, view, amplitude, tell)
    return write_still(avatar, pose_at(avatar, motion, frame, amplitude), out, view)


def pose_at(avatar: Avatar, motion: MotionClip | None, frame: int, amplitude: float = 1.0) -> BodyParams:
    """The avatar's pose at a frame of a motion; the photo's own pose without a motion.

    Raises:
        PipelineError: the motion has no such frame.
    """
    if motion is None:
        return avatar.params
    if not 0 <= frame < len(motion):
        raise PipelineError(f"The motion has frames 0 to {len(motion) - 1}; {frame} is outside.")
    from pipeline.animation import pose_sequence

    return pose_sequence(avatar, motion, motion.fps, amplitude)[frame]


def write_ply(avatar: Avatar, params: BodyParams, out: str | Path) -> Path:
    """Write the posed Gaussians as a PLY of 3D Gaussian Splatting (degree 0), for splat viewers and editors.

    Positions are metres in OpenCV axes (x right, y down, z away from the viewer), as in files trained on COLMAP
    cameras, so that common viewers show the person upright.

    Args:
        avatar: whom. params: the pose. out: the file.

    Raises:
        PipelineError: the file cannot be written; nothing is left behind.
    """
    import torch

    from pipeline.media import replacing

    with torch.no_grad():
        means, scales, colors = (x.numpy() for x in avatar.pose(params))
    table = np.zeros((len(means), len(PLY_FIELDS)), "<f4")
    table[:, :3] = means * np.array([1, -1, -1], np.float32)
    table[:, 6:9] = (np.clip(colors, 0, 1) - 0.5) / SH_C0
    table[:, 9] = OPACITY_LOGIT
    table[:, 10:13] = np.log(scales)[:, None]
    table[:, 13] = 1.0
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [f"property float {name}" for name in PLY_FIELDS] + ["end_header", ""]
    with replacing(out) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(lines).encode())
        file.write(table.tobytes())
    return Path(out)


def write_still(avatar: Avatar, params: BodyParams, out: str | Path, view: View, device: str = "auto") -> Path:
    """Write one picture (PNG with alpha where the background is transparent; JPEG has none), marked and signed.

    ``device``: where to draw, as in :func:`pipeline.animation.draw_frames`.

    Raises:
        PipelineError: a transparent JPEG, or the file cannot be written.
    """
    from PIL import Image

    from pipeline.media import replacing

    if view.background == "transparent" and Path(out).suffix.lower() == ".jpg":
        raise PipelineError("JPEG cannot be transparent; give a name that ends in .png.")
    view.check("")
    stamp = _stamp(avatar, None, view)
    options = {"quality": 90} if Path(out).suffix.lower() == ".jpg" else {}
    with replacing(out) as temporary:
        frame = next(iter(_frames(avatar, [params], view, device)))
        Image.fromarray(stamp.mark(frame)).save(temporary, **options)
        stamp.seal(temporary)
    return Path(out)


def write_moving(
    avatar: Avatar,
    motion: MotionClip,
    out: str | Path,
    view: View,
    amplitude: float,
    tell: Callable[[str, float], None],
) -> Path:
    """Write an animated GIF or WebP that repeats, at 20 frames per second.

    Raises:
        PipelineError: too long, a transparent GIF, or the file cannot be written.
    """
    from PIL import Image

    from pipeline.animation import pose_sequence
    from pipeline.media import replacing

    suffix = Path(out).suffix.lower()
    if motion.duration > MAX_MOVING_SECONDS:
        raise PipelineError(f"A GIF or WebP lasts up to {MAX_MOVING_SECONDS:.0f} s; make a video of a longer motion.")
    if view.background == "transparent" and suffix == ".gif":
        raise PipelineError("GIF cannot be half transparent; give a name that ends in .webp.")
    view = replace(view, fps=MOVING_FPS)
    view.check("")
    poses = pose_sequence(avatar, motion, MOVING_FPS, amplitude)

    stamp = _stamp(avatar, motion, view)

    def pictures() -> Iterator[Image.Image]:
        for i, frame in enumerate(_frames(avatar, poses, view)):
            tell("drawing", i / len(poses))
            yield Image.fromarray(stamp.mark(frame))

    options = {"quality": 80, "method": 2} if suffix == ".webp" else {"optimize": False}
    drawn = pictures()
    first = next(drawn)
    with replacing(out) as temporary:
        first.save(temporary, save_all=True, append_images=drawn, duration=round(1000 / MOVING_FPS), loop=0, **options)
        stamp.seal(temporary)
    return Path(out)


def _stamp(avatar: Avatar, motion: MotionClip | None, view: View) -> Stamp:
    from pipeline.provenance import Stamp

    return Stamp.of(avatar.meta, view.size, motion=motion, label=view.label)


def _frames(avatar: Avatar, poses: Sequence[BodyParams], view: View, device: str = "auto") -> Iterator[Array]:
    from pipeline.animation import draw_frames

    return draw_frames(avatar, poses, view, device)


def _write_page(avatar: Avatar, motion: MotionClip | None, out: Path, amplitude: float) -> Path:
    """The 3D view as one HTML file that needs no server."""
    import io

    from PIL import Image

    from pipeline.animation import View, draw_frames, pose_sequence
    from pipeline.media import replacing
    from pipeline.viewer import pack_motion, pack_scene, standalone_page

    packed = b""
    if motion is not None:
        packed = pack_motion(avatar, pose_sequence(avatar, motion, 30.0, amplitude), 30.0)
    still, view = io.BytesIO(), View()
    frame = _stamp(avatar, motion, view).mark(next(iter(draw_frames(avatar, [avatar.params], view))))
    Image.fromarray(frame).save(still, "JPEG", quality=85)
    page = standalone_page(pack_scene(avatar), packed, still=still.getvalue())
    with replacing(out) as temporary:
        temporary.write_text(page, "utf-8")
    return out
