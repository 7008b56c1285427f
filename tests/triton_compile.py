"""Compile every Triton kernel to machine code without a card; a program, because the tests' own process interprets.

``python tests/triton_compile.py 90 120`` prints one line per kernel: architecture, name, bytes of machine code.
"""

from __future__ import annotations

import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pipeline.render import triton_kernels, triton_mask_kernels

F, D, J, N, L = "*fp32", "*fp64", "*i32", "i32", "*i64"
PROJECTED = {"splats": F, "rects": J, "depths": F, "counts": J}
CLOUD = {"means": F, "scales": F, "opacities": F, "cam": F, "n": N, "width": N, "height": N, **PROJECTED}
TILES = {"splats": F, "colors": F, "offsets": L, "ids": J, "first": N, "channels": N, "tiles_x": N}
PICTURE = {"width": N, "height": N, "image": F, "alpha": F}
EDGES = {"lines": D, "spans": J, "width": N, "height": N, "keys": L}
KERNELS = [
    (triton_kernels.project, CLOUD, {"BLOCK": 128}, 4),
    (
        triton_kernels.skin_project,
        {**CLOUD, "joints": "*u8", "weights": F, "transforms": F},
        {"JOINTS": 6, "BLOCK": 128},
        4,
    ),
    (
        triton_kernels.emit_pairs,
        {"order": L, "starts": J, "counts": J, "rects": J, "n": N, "capacity": N, "tiles_x": N, "tiles": "*i16"}
        | {"owners": J},
        {"BLOCK": 128},
        4,
    ),
    (triton_kernels.blend, {**TILES, **PICTURE, "background": F}, {}, 1),
    (triton_kernels.blend_backward, {**TILES, **PICTURE, "slots": L, "g_image": F, "g_alpha": F, "rows": F}, {}, 1),
    (
        triton_kernels.project_backward,
        {"order": L, "starts": J, "counts": J, "n": N, "capacity": N, "means": F, "scales": F, "cam": F, "splats": F}
        | {"first": N, "channels": N, "rows": F, "g_means": F, "g_scales": F, "g_colors": F, "g_opacities": F},
        {"BLOCK": 128},
        4,
    ),
    (triton_mask_kernels.cover, {"planes": D, "boxes": J, "depths": D, "width": N, "inside": "*i8"}, {"BLOCK": 64}, 1),
    (triton_mask_kernels.cross, {**EDGES, "inside": "*i8"}, {"BLOCK": 32}, 1),
    (triton_mask_kernels.cross_backward, {**EDGES, "g_at": D, "sums": D}, {"BLOCK": 32}, 1),
]


def main(architectures: list[int]) -> None:
    """Compile for compute capabilities such as 90 (Hopper) or 120 (what ZeroGPU has)."""
    for architecture in architectures:
        for kernel, types, constants, warps in KERNELS:
            names = kernel.arg_names
            source = ASTSource(
                fn=kernel,
                signature={name: types.get(name, "constexpr") for name in names},
                constexprs={(names.index(name),): value for name, value in constants.items()},
            )
            options = {"num_warps": warps}
            compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
            print(architecture, kernel.__name__, len(compiled.asm["cubin"]))


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]])
