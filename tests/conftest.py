"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if not torch.cuda.is_available():
    # Triton's kernels then run in its interpreter; it must know before anything imports triton.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real media and specifications beside the checkout; tests that need it skip where it is absent."""
    path = Path(os.environ.get("ONESHOT_SHARED", ROOT.parent / "shared"))
    if not (path / "media").is_dir():
        pytest.skip("needs the real media in ../shared (or ONESHOT_SHARED), which is not on this machine")
    return path


@pytest.fixture(scope="session")
def astronaut_path() -> Path:
    """The public-domain NASA portrait inside scikit-image, a 512 x 512 PNG."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


@pytest.fixture(scope="session")
def astronaut(astronaut_path):
    """The same as (512, 512, 3) float32 in 0..1."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(astronaut_path).convert("RGB"), np.float32) / 255


@pytest.fixture(scope="session")
def doll():
    """An avatar that needs no photo: 30,000 grey Gaussians evenly on the open body, arms down, seen half length."""
    import numpy as np
    import torch

    from pipeline.avatar.model import Avatar, gaussian_weights
    from pipeline.body import load_body
    from pipeline.types import BodyParams, Camera

    body, rng, n = load_body(), np.random.default_rng(0), 30_000
    corners = body.v_template[body.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1).numpy()
    face_ids = torch.from_numpy(rng.choice(len(area), n, p=area / area.sum()))
    bary = torch.from_numpy(rng.dirichlet((1, 1, 1), n).astype(np.float32))
    index, weight = gaussian_weights(body, face_ids, bary)
    rest = BodyParams.zeros(body.n_betas, body.n_expression)
    pose = rest.body_pose.copy()
    pose[15, 2], pose[16, 2] = -1.2, 1.2
    return Avatar(
        body=body,
        face_ids=face_ids,
        bary=bary,
        dX=torch.from_numpy(rng.normal(0, 0.002, (n, 3)).astype(np.float32)),
        dT=torch.zeros_like(body.v_template),
        scale=torch.full((n,), 0.006),
        rgb=torch.from_numpy(rng.uniform(0.3, 0.8, (n, 3)).astype(np.float32)),
        guessed=torch.zeros(n),
        skin_index=index,
        skin_weight=weight,
        camera=Camera.frontal(144, 256, 1.5 * 256, distance=2.2),
        params=rest.replace(body_pose=pose),
        background=rng.integers(0, 256, (256, 144, 3), np.uint8),
        meta={},
    )
