"""Body models in SMPL-X's layout: the open body, a licensed SMPL-X file, and their landmarks and limits."""

from pipeline.body.limits import joint_limits
from pipeline.body.model import BodyModel, BodyOutput, Landmarks, load_body
from pipeline.body.names import ARKIT_NAMES, JOINT_NAMES, PARENTS

__all__ = ["ARKIT_NAMES", "JOINT_NAMES", "PARENTS", "BodyModel", "BodyOutput", "Landmarks", "joint_limits", "load_body"]
