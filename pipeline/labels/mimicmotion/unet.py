"""The stock video UNet with one addition: pose latents join its first features."""

from __future__ import annotations

from typing import Any

from diffusers import UNetSpatioTemporalConditionModel
from torch import Tensor


class PoseGuidedUNet(UNetSpatioTemporalConditionModel):
    """Stable Video Diffusion's UNet, key for key; see :meth:`forward`."""

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float,
        encoder_hidden_states: Tensor,
        added_time_ids: Tensor,
        pose_latents: Tensor | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Predict v.

        Args:
            sample: (B, F, 8, h, w) scaled noisy latents and image latents.
            timestep: 0-d. encoder_hidden_states: (B, 1, D). added_time_ids: (B, 3).
            pose_latents: (n, C, h, w), added behind ``conv_in`` to the last n of the B*F frames: with the batch in the
                order (unconditional, conditional), F pose latents reach the conditional half only.
            return_dict: as in diffusers.

        Returns:
            (B, F, 4, h, w) in diffusers' output class, or in a tuple.
        """
        stock = super().forward
        if pose_latents is None:
            return stock(sample, timestep, encoder_hidden_states, added_time_ids, return_dict)

        def add_pose(module: Any, inputs: Any, output: Tensor) -> None:
            output[len(output) - len(pose_latents) :] += pose_latents

        handle = self.conv_in.register_forward_hook(add_pose)
        try:
            return stock(sample, timestep, encoder_hidden_states, added_time_ids, return_dict)
        finally:
            handle.remove()
