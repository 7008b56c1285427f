"""Perceptual distances: LPIPS with real weights where the user has them, a weight-free structural one elsewhere."""

from pipeline.perceptual.choose import Measure, choose_measure
from pipeline.perceptual.lpips import Lpips
from pipeline.perceptual.structural import PerceptualLoss, structural_loss
from pipeline.perceptual.weights import load_lpips

__all__ = ["Lpips", "Measure", "PerceptualLoss", "choose_measure", "load_lpips", "structural_loss"]
