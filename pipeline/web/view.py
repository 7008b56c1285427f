"""The 3D view on the page: which files it shows, and the few lines that start the player."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import api, heap
from pipeline.types import MotionClip
from pipeline.viewer import MAX_VIEW_SECONDS, PLAYER, pack_motion, pack_scene
from pipeline.web.endpoints import in_a_sentence, named_motion, store
from pipeline.web.reports import picture_of

FPS = 30.0

TEMPLATE = '<div class="view-host"><p class="view-empty">The avatar appears here, to be turned and moved.</p></div>'

ON_LOAD = """
let player = null;
async function show() {
  const files = props.value, host = element.querySelector('.view-host');
  if (!files?.scene) {
    if (player && host) host.innerHTML = host.dataset.empty;
    player = null;
    return;
  }
  if (!player || !host.contains(player.stage)) {
    host.dataset.empty ??= host.innerHTML;
    const { Player } = await import(files.player.url);
    player = new Player(host);
    element.player = player;
  }
  await player.show({ scene: files.scene.url, motion: files.motion?.url, still: files.still?.url });
}
watch('value', show);
show();
"""


def view_files(
    avatar_id: str,
    motion: str | None = None,
    motion_file: str | None = None,
    amplitude: float = 1.0,
    speed: float = 1.0,
) -> dict[str, Any] | None:
    """What the player shows: the avatar, a motion where it is short enough, and a still for browsers without WebGL2.

    Args:
        avatar_id: what fit returned; nothing shows nothing.
        motion: name of a motion.
        motion_file: a motion clip instead; a video is not tracked for the view.
        amplitude, speed: as for a video.
    """
    if not avatar_id:
        return None
    with in_a_sentence(), heap.giving_back():
        kept = store()
        avatar = kept.get(avatar_id)
        files = {role: kept.file_of(avatar_id, role, suffix) for role, suffix in (("scene", ".osv"), ("still", ".jpg"))}
        if not files["scene"].exists():
            _write(files["scene"], pack_scene(avatar))
        if not files["still"].exists():
            picture_of(avatar, files["still"])
        clip = _clip(motion, motion_file, float(speed))
        if clip is not None:
            files["motion"] = kept.new_file(".osv", avatar_id)
            _write(files["motion"], _packed(avatar, clip, float(amplitude)))
        return {name: _file(path) for name, path in {"player": PLAYER, **files}.items()}


def _clip(motion: str | None, motion_file: str | None, speed: float) -> MotionClip | None:
    from pipeline.motion import speed as at_speed

    if motion_file and Path(motion_file).suffix.lower() in api.VIDEO_SUFFIXES:
        return None
    if not motion_file and not motion:
        return None
    return at_speed(api.load_motion(motion_file or named_motion(motion or "")), speed)


def _packed(avatar: Any, clip: MotionClip, amplitude: float) -> bytes:
    from pipeline.animation import pose_sequence

    poses = pose_sequence(avatar, clip, FPS, amplitude)
    return pack_motion(avatar, poses[: int(MAX_VIEW_SECONDS * FPS)], FPS, str(clip.meta.get("title", "")))


def _write(path: Path, data: bytes) -> None:
    from pipeline.media import replacing

    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _file(path: Path) -> dict[str, Any]:
    from gradio import FileData

    return FileData(path=str(path)).model_dump()
