"""A small picture of every preset, for the app's gallery; ``python -m pipeline.motion.stills`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.types import Array, BodyParams, Camera, MotionClip

if TYPE_CHECKING:
    from pipeline.body import BodyModel, BodyOutput

SIZE = (192, 256)
GROUND = (0.93, 0.93, 0.95)
CHEST = np.array([0.0, 0.16, 0.0], np.float32)
"""Where the camera looks, metres from the pelvis of the T-pose."""
STEP = 6
"""Every sixth frame is looked at for the most telling one."""


def still(clip: MotionClip, body: BodyModel) -> Array:
    """(256, 192, 3) float32: the open body, half length, at the moment at which its hands are highest."""
    from pipeline.motion.retarget import retarget
    from pipeline.render import shaded

    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    poses = list(retarget(clip, body, rest))[::STEP]
    wrists = [posed(body, params, [0]).joints[0, 20:22, 1].numpy() for params in poses]
    telling = int(np.argmax([w.max() + 0.5 * w.min() for w in wrists]))
    vertices = posed(body, poses[telling], None).vertices[0].numpy()
    camera = Camera.frontal(*SIZE, focal=2.4 * SIZE[1], distance=2.4)
    return shaded(vertices - CHEST, body.faces, camera, background=GROUND)


def posed(body: BodyModel, params: BodyParams, vertex_ids: list[int] | None) -> BodyOutput:
    """The body in a pose; all vertices, or some."""
    import torch

    fields = {name: torch.from_numpy(np.asarray(value, np.float32))[None] for name, value in vars(params).items()}
    ids = None if vertex_ids is None else torch.tensor(vertex_ids)
    with torch.no_grad():
        return body(**fields, vertex_ids=ids)


def write_stills(folder: Path | None = None) -> list[Path]:
    """Draw every preset into ``folder`` (default: ``stills`` beside them); returns the files."""
    from pipeline.body import load_body
    from pipeline.media import save_image
    from pipeline.motion.presets import get_motion, list_presets, motions_folder

    folder = folder or motions_folder() / "stills"
    body, files = load_body(), []
    for preset in list_presets():
        files.append(folder / f"{preset.name}.jpg")
        save_image(files[-1], still(get_motion(preset.name), body), quality=85)
    return files


if __name__ == "__main__":
    print("\n".join(str(path) for path in write_stills()))
