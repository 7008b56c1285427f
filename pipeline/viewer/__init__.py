"""The avatar in a browser: a compact file of its skinned Gaussians, and a WebGL2 player that draws and moves it."""

from pipeline.viewer.pack import MAX_SPLATS, MAX_VIEW_SECONDS, pack_motion, pack_scene, unpack
from pipeline.viewer.page import PLAYER, standalone_page

__all__ = ["MAX_SPLATS", "MAX_VIEW_SECONDS", "PLAYER", "pack_motion", "pack_scene", "standalone_page", "unpack"]
