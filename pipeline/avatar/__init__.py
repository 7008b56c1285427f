"""The avatar: coupled 3DGS-mesh model (Eq. 3-5), its fit (Eq. 7-10), completion, and the avatar file."""

from pipeline.avatar.fit import PipelineCancelled, fit
from pipeline.avatar.model import Avatar
from pipeline.avatar.store import load_avatar, save_avatar

__all__ = ["Avatar", "PipelineCancelled", "fit", "load_avatar", "save_avatar"]
