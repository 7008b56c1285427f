"""Gaussian and mesh rasterisers behind one interface: numba on every CPU; gsplat, nvdiffrast or Triton on CUDA."""

from pipeline.render.backends import Backend, available_backends, choose_device
from pipeline.render.budget import PairBudget
from pipeline.render.gaussians import RenderOutput, rasterize_gaussians
from pipeline.render.mesh import MeshFragments, face_normals, interpolate, rasterize_mesh, shaded, vertex_normals
from pipeline.render.silhouette import mesh_mask
from pipeline.render.skinned import Rig, SkinnedRenderer, skinned_renderer

__all__ = [
    "Backend",
    "MeshFragments",
    "PairBudget",
    "RenderOutput",
    "Rig",
    "SkinnedRenderer",
    "available_backends",
    "choose_device",
    "face_normals",
    "interpolate",
    "mesh_mask",
    "rasterize_gaussians",
    "rasterize_mesh",
    "shaded",
    "skinned_renderer",
    "vertex_normals",
]
