"""Everything that can be added by download or by licence, in one table: source, files, size, licence, what it gives.

Nothing here is needed to run the program, and nothing is downloaded unless the user asks for it by name
(``python -m pipeline weights fetch NAME``). A part is looked for, in this order, where its environment variable points
and in the cache. A revision or checksum that is None was not known when this table was written: the first fetch then
records the commit and the checksums that the Hub states, and later fetches keep to them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.types import PipelineError

RECORD = "fetched.json"
"""Beside the files of a fetched part: where they came from and their checksums."""


@dataclass(frozen=True)
class WeightFile:
    """One file of a part.

    Attributes:
        path: inside the repository.
        sha256: hex, whole or its beginning (PyTorch's file names carry 8 digits), or None where not known.
    """

    path: str
    sha256: str | None = None


@dataclass(frozen=True)
class Weight:
    """One downloadable part.

    Attributes:
        name: key in :data:`WEIGHTS`.
        repo: Hugging Face Hub repository, empty where there is none to fetch from.
        files: what is needed of it.
        megabytes: size of all files, or None where not known.
        licence: name and consequence in a few words.
        commercial: whether the licence allows commercial use; None where it does not say.
        gated: whether an account must accept terms first.
        gives: what gets better.
        env: environment variable that points to a local file (or folder, where there are several), or None.
        used: whether this version can use it.
        revision: pinned commit, or None.
        repo_env: environment variable that names the user's own (private) repository, or None.
        folder: whether the part is used as a folder, though it may be a single file.
        dataset: whether the repository is a Hub dataset and not a model.
    """

    name: str
    repo: str
    files: tuple[WeightFile, ...]
    megabytes: float | None
    licence: str
    commercial: bool | None
    gated: bool
    gives: str
    env: str | None = None
    used: bool = True
    revision: str | None = None
    repo_env: str | None = None
    folder: bool = False
    dataset: bool = False

    @property
    def file(self) -> str:
        """The files in words."""
        return ", ".join(f.path for f in self.files)

    @property
    def source(self) -> str:
        """The repository to fetch from: the user's own where one is named; empty where there is none."""
        own = os.environ.get(self.repo_env) if self.repo_env else None
        return own or self.repo

    @property
    def cache(self) -> Path:
        """Folder in the cache that a fetch fills."""
        from pipeline.body.cache import cache_dir  # late: opening the package of the body loads torch

        return cache_dir() / "weights" / self.name

    def local_path(self) -> Path | None:
        """The file, or the folder of several, that is there to be used; None where it is not. Never downloads.

        Raises:
            PipelineError: the environment variable is set and points nowhere.
        """
        value = os.environ.get(self.env) if self.env else None
        whole = self.folder or len(self.files) > 1
        if value:
            path = Path(value).expanduser()
            if not (path.is_dir() if whole else path.is_file()):
                kind = "folder" if whole else "file"
                raise PipelineError(f"{self.env} points to {value}, which is not a {kind}; correct it or unset it.")
            return path
        if not self.files or not all((self.cache / f.path).is_file() for f in self.files):
            return None
        return self.cache if whole else self.cache / self.files[0].path

    def record(self) -> dict[str, Any]:
        """What the last fetch wrote down: ``repo``, ``commit`` and ``files`` (path to sha256); empty where none did."""
        try:
            return json.loads((self.cache / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def state(self) -> str:
        """One word: "ready", "partial" (a fetch was stopped), "absent", or "wrong" (a variable points nowhere)."""
        try:
            if self.local_path():
                return "ready"
        except PipelineError:
            return "wrong"
        return "partial" if self.cache.is_dir() and any(self.cache.rglob("*.part")) else "absent"

    @property
    def checked(self) -> bool:
        """Whether every file has a checksum in this table, which pins its content whatever the revision."""
        return bool(self.files) and all(file.sha256 for file in self.files)

    def pin(self) -> str:
        """Which version a fetch takes, in words."""
        if not self.source:
            return ""
        if self.revision:
            return f"pinned to {self.revision}"
        if self.checked:
            return "pinned by checksum"
        commit = self.record().get("commit")
        return f"kept to {commit}, recorded by the first fetch" if commit else "not pinned; the first fetch records it"

    def how(self) -> str:
        """What to do to get it."""
        if self.source:
            return f"run `python -m pipeline weights fetch {self.name}`"
        repo = f", or {self.repo_env} to a Hub repository" if self.repo_env else ""
        return f"set {self.env} to your own copy{repo}" if self.env else "it cannot be fetched by this version"

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "name": self.name, "repo": self.source, "files": [f.path for f in self.files],
            "megabytes": self.megabytes, "licence": self.licence, "commercial": self.commercial, "gated": self.gated,
            "gives": self.gives, "used": self.used, "revision": self.revision or self.record().get("commit"),
            "pinned": self.revision is not None or self.checked,
            "state": self.state(), "how": self.how(),
        }  # fmt: skip


_SVD_LICENCE = "Stability AI community licence, with a revenue limit: read it before any commercial use"
_TABLE = (
    Weight(
        name="smplx",
        repo="",
        files=(WeightFile("SMPLX_NEUTRAL.npz"),),
        megabytes=None,
        licence="SMPL-X model licence: non-commercial research, by registration at smpl-x.is.tue.mpg.de",
        commercial=False,
        gated=True,
        gives="the SMPL-X body in place of the open body",
        env="SMPLX_MODEL",
        repo_env="ONESHOT_SMPLX_REPO",
    ),
    Weight(
        name="mimicmotion",
        repo="tencent/MimicMotion",
        files=(WeightFile("MimicMotion_1-1.pth", "b812659ea273b2758c918facf759af5d7cad9564dc35156c59ec17e93f9749a4"),),
        megabytes=3050,
        licence="not stated for the weights; a derivative of SVD-XT 1.1, whose terms must be assumed to apply",
        commercial=None,
        gated=False,
        gives="generated body labels (with svd-xt-1.1, on a GPU with 8 GB or more)",
        env="ONESHOT_MIMICMOTION",
    ),
    Weight(
        name="svd-xt-1.1",
        repo="stabilityai/stable-video-diffusion-img2vid-xt-1-1",
        files=(
            WeightFile("unet/config.json"),
            WeightFile("scheduler/scheduler_config.json"),
            WeightFile("vae/config.json"),
            WeightFile(
                "vae/diffusion_pytorch_model.fp16.safetensors",
                "af602cd0eb4ad6086ec94fbf1438dfb1be5ec9ac03fd0215640854e90d6463a3",
            ),
            WeightFile("image_encoder/config.json"),
            WeightFile(
                "image_encoder/model.fp16.safetensors",
                "ae616c24393dd1854372b0639e5541666f7521cbe219669255e865cb7f89466a",
            ),
        ),
        megabytes=1460,
        licence=_SVD_LICENCE,
        commercial=None,
        gated=True,
        gives="generated body labels (with mimicmotion)",
        env="ONESHOT_SVD",
        revision="043843887ccd51926e3efed36270444a838e7861",
        folder=True,
    ),
    Weight(
        name="dwpose",
        repo="yzd-v/DWPose",
        files=(
            WeightFile("yolox_l.onnx", "7860ae79de6c89a3c1eb72ae9a2756c0ccfbe04b7791bb5880afabd97855a411"),
            WeightFile("dw-ll_ucoco_384.onnx", "724f4ff2439ed61afb86fb8a1951ec39c6220682803b4a8bd4f598cd913b1843"),
        ),
        megabytes=351,
        licence="code Apache-2.0; trained on COCO-WholeBody and UBody, whose annotations are for research",
        commercial=None,
        gated=False,
        gives="whole-body keypoints of the photo and of driving videos, as the diffusion model was trained with",
        env="ONESHOT_DWPOSE",
        revision="f7c16a3d45ad3783db41471848c80fbc281cabac",
    ),
    Weight(
        name="lpips-squeeze",
        repo="",
        files=(WeightFile("lpips_squeeze_v0.1.npz"),),
        megabytes=None,
        licence="BSD-3-Clause (features), BSD-2-Clause (heads)",
        commercial=True,
        gated=False,
        gives="the lpips figure of `reenact`; a file of LPIPS-VGG in its place is the loss on labels too",
        env="ONESHOT_LPIPS",
    ),
    Weight(
        name="vgg16",
        repo="timm/vgg16.tv_in1k",
        files=(WeightFile("model.safetensors"),),
        megabytes=553,
        licence="BSD-3-Clause (torchvision); trained on ImageNet, whose terms are for research",
        commercial=None,
        gated=False,
        gives="the paper's perceptual loss on labels (with lpips-vgg)",
        env="ONESHOT_VGG16",
        revision="b8d8aa2dd860af9233c8c67385a8097fd6c35d3f",
    ),
    Weight(
        name="lpips-vgg",
        repo="chaofengc/IQA-PyTorch-Weights",
        files=(WeightFile("LPIPS_v0.1_vgg-a78928a0.pth", "a78928a0"),),
        megabytes=0.01,
        licence="BSD-2-Clause (the LPIPS authors'); the repository that mirrors them states CC-BY-NC-SA-4.0",
        commercial=None,
        gated=False,
        gives="the paper's perceptual loss on labels (with vgg16)",
        env="ONESHOT_LPIPS_VGG",
    ),
    Weight(
        name="birefnet",
        repo="ZhengPeng7/BiRefNet",
        files=(
            WeightFile("config.json", "c97ea21569daf66b205491a4635147dd3bc42c7c168b89d7d75b53f67ef548ae"),
            WeightFile("model.safetensors", "9ab37426bf4de0567af6b5d21b16151357149139362e6e8992021b8ce356a154"),
        ),
        megabytes=444,
        licence="MIT (code); see the repository's card",
        commercial=None,
        gated=False,
        gives="a finer matte",
        used=False,
        revision="e2bf8e4460fc8fa32bba5ea4d94b3233d367b0e4",
    ),
    Weight(
        name="portrait4d-v2",
        repo="bEijuuu/Portrait4D",
        files=(WeightFile("portrait4d-v2-vfhq512.pkl"), WeightFile("models/pdfgc/weights/motion_model.pth")),
        megabytes=None,
        licence="see the repository's card; the file holds FLAME data, whose licence is for research",
        commercial=None,
        gated=False,
        gives="generated head labels (`label --head`)",
        env="ONESHOT_PORTRAIT4D",
    ),
    Weight(
        name="ted-clips",
        repo="",
        files=(WeightFile("manifest.json"),),
        megabytes=None,
        licence="as the manifest of the set says, clip by clip",
        commercial=None,
        gated=False,
        gives="further motions, fetched one by one: a set made by `ted build`, on your disk or as a Hub dataset",
        env="ONESHOT_TED_CLIPS",
        repo_env="ONESHOT_TED_REPO",
        folder=True,
        dataset=True,
    ),
)

WEIGHTS: dict[str, Weight] = {weight.name: weight for weight in _TABLE}


def find(name: str) -> Weight:
    """An entry of the table.

    Raises:
        PipelineError: no such name; the message lists them.
    """
    if name not in WEIGHTS:
        raise PipelineError(f"'{name}' is not in the table of weights; there are {', '.join(WEIGHTS)}.")
    return WEIGHTS[name]


def require(name: str) -> Path:
    """The local file or folder of a part that the user asked for.

    Raises:
        PipelineError: it is not there, with the way to get it.
    """
    weight = find(name)
    path = weight.local_path()
    if path is None:
        raise PipelineError(f"{weight.name} ({weight.gives}) is not on this machine; {weight.how()}.")
    return path
