"""The verbs ``label`` and ``label_head``: photo and motions, or driving videos, in; labels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import weights
from pipeline.console import Progress
from pipeline.types import Array, MotionClip, Observation, PipelineError

if TYPE_CHECKING:
    from pipeline.body import BodyModel
    from pipeline.labels.mimicmotion.dwpose import DWPose
    from pipeline.labels.mimicmotion.keypoint_clip import KeypointClip
    from pipeline.labels.mimicmotion.memory import MemoryPlan
    from pipeline.labels.mimicmotion.sampling import MimicMotionFrames
    from pipeline.labels.mimicmotion.stage import BodyLabelConfig, BodyLabels
    from pipeline.labels.portrait4d.stage import HeadLabelConfig, HeadLabels


def label(
    photo: str | Path | Array | Observation,
    motions: Sequence[str | Path | MotionClip],
    *,
    body: BodyModel | str | Path | None = None,
    vram: float | None = None,
    device: str = "cuda",
    config: BodyLabelConfig | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> BodyLabels:
    """Make body labels with MimicMotion.

    Args:
        photo: path, array, or what :func:`pipeline.api.observe` returned.
        motions: names of presets, clip files, files of 2D keypoints, videos, or clips; each gives one generated video.
        body: body model or path of one; the machine's default when None.
        vram: gigabytes of the card to plan for; all that the card has when None.
        device: "cuda", or "cpu" for toy models only.
        config: settings of the stage. root: where labels are kept; the cache by default.
        progress: called with a stage name and the share done; may raise to stop, a later call then continues.

    Raises:
        PipelineError: weights or card missing, a photo or motion that will not do, or no usable frame.
    """
    from pipeline import api
    from pipeline.labels.mimicmotion.keypoint_clip import is_keypoint_file, read_keypoints
    from pipeline.labels.mimicmotion.stage import make_body_labels

    def open_motion(motion: str | Path | MotionClip) -> MotionClip | KeypointClip:
        if not isinstance(motion, MotionClip) and Path(motion).suffix == ".npz" and is_keypoint_file(motion):
            return read_keypoints(motion)
        return api.load_motion(motion, body=body, progress=progress)

    plan = choose_plan(vram, device)
    base, checkpoint = weights.require("svd-xt-1.1"), weights.require("mimicmotion")
    clips = [open_motion(motion) for motion in motions]
    model = api.get_body(body)
    observation = photo if isinstance(photo, Observation) else api.observe(photo, body=model, progress=progress)
    generator = open_generator(base, checkpoint, plan, device)
    return make_body_labels(
        observation, clips, model, generator, dwpose=open_dwpose(device), config=config, root=root, progress=progress
    )


def label_head(
    photo: str | Path | Array,
    driving: Sequence[str | Path],
    *,
    observation: Observation | None = None,
    body: BodyModel | str | Path | None = None,
    device: str | None = None,
    config: HeadLabelConfig | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> HeadLabels:
    """Make head labels with Portrait4D-v2.

    Args:
        photo: path or array; as many pixels of the face as there are.
        driving: videos of people talking to the camera; expressions are borrowed from them.
        observation: what :func:`pipeline.api.observe` returned for this photo; made here when None.
        body: body model or path of one; the machine's default when None.
        device: "cuda" or "cpu"; None takes CUDA where torch sees a card.
        config: settings of the stage. root: where labels are kept; the cache by default.
        progress: called with a stage name and the share done; may raise to stop, a later call then continues.

    Raises:
        PipelineError: weights missing, a photo or driving videos that will not do, or no usable frame.
    """
    import torch

    from pipeline import api
    from pipeline.labels.portrait4d.driving import driving_faces
    from pipeline.labels.portrait4d.stage import make_head_labels
    from pipeline.labels.portrait4d.synthesis import Portrait4DModel
    from pipeline.media import load_photo

    weights.require("portrait4d-v2")
    if not driving:
        raise PipelineError("Head labels need a driving video of somebody who talks to the camera; name at least one.")
    for video in driving:
        api.check_video(video)
    image = load_photo(photo)
    model = api.get_body(body)
    observation = observation or api.observe(image, body=model, progress=progress)
    tell = progress or (lambda stage, share: None)
    faces = driving_faces(driving, progress=lambda share: tell("driving faces", share))
    network = Portrait4DModel.from_weights(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return make_head_labels(image, observation, model, faces, network, config=config, root=root, progress=progress)


def choose_plan(vram: float | None, device: str = "cuda") -> MemoryPlan:
    """The memory plan for a card.

    Raises:
        PipelineError: no CUDA card, or too small a one.
    """
    import torch

    from pipeline.labels.mimicmotion.memory import plan_for

    if device == "cuda" and not torch.cuda.is_available():
        raise PipelineError(
            "Generated labels need a CUDA card with 8 GB of memory or more, and this machine shows none; make the "
            "avatar without labels."
        )
    if vram is None:
        vram = torch.cuda.get_device_properties(0).total_memory / 2**30 if device == "cuda" else 8.0
    return plan_for(vram)


def open_generator(base: Path, checkpoint: Path, plan: MemoryPlan, device: str) -> MimicMotionFrames:
    """Load the pipeline, in half precision on a card; see :meth:`MimicMotionPipeline.from_pretrained`."""
    import torch

    from pipeline.checkpoints import fingerprint
    from pipeline.labels.mimicmotion import MimicMotionPipeline
    from pipeline.labels.mimicmotion.sampling import MimicMotionFrames

    dtype = torch.float16 if device == "cuda" else torch.float32
    pipe = MimicMotionPipeline.from_pretrained(base, checkpoint, torch_dtype=dtype)
    return MimicMotionFrames(pipe, fingerprint(checkpoint, *sorted(base.glob("*/*.safetensors"))), plan, device)


def open_dwpose(device: str) -> DWPose | None:
    """DWPose where its weights are; on the CPU where onnxruntime has no CUDA."""
    folder = weights.find("dwpose").local_path()
    if folder is None:
        return None
    import onnxruntime

    from pipeline.labels.mimicmotion import DWPose

    fast = device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    files: list[Any] = [folder / file.path for file in weights.find("dwpose").files]
    return DWPose.open(files[0], files[1], "cuda" if fast else "cpu")
