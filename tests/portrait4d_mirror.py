"""A narrow Portrait4D whose weights were not trained but built: its pictures show the photo it was given.

Every layer computes as always, on random weights, except for one path: the background network carries the photo's
colours, the density is a fine mist everywhere that lets a tenth of the background through, and the super-resolution
gives back the contrast that the mist took. So a face can be found in the pictures, at a quarter of their resolution,
whatever expression and head pose are asked for.
"""

from __future__ import annotations

import collections
import math
import pickle
import sys
import types
import warnings

import portrait4d_golden as golden
import torch
from torch import nn

from pipeline.labels.portrait4d.generator import Portrait4D
from pipeline.labels.portrait4d.rays import HEAD_POSITION
from pipeline.labels.portrait4d.volume import SAMPLES, coarse_depths

NARROW = 8
SEEN = 0.1
"""Share of the background that the mist lets through."""
STEEP = 2.2
"""Slope of the background's logits over colours in -1..1; its sigmoid bends them a little."""
SETTINGS = {"img_resolution": 512, "mot_dims": 548, "rendering_kwargs": {"box_warp": 1.3, "depth_resolution": 48}}


def narrow_portrait() -> Portrait4D:
    """The architecture of :func:`mirror_portrait`, with any weights."""
    return Portrait4D(NARROW)


def mirror_portrait() -> Portrait4D:
    """The network."""
    net = golden.filled(narrow_portrait())
    with torch.no_grad():
        _carry_background(net.background)
        _mist(net.decoder)
        _give_back_contrast(net.superresolution)
    return net


def _only(layer: nn.Conv2d, taps: dict[tuple[int, int], float], offset: float = 0.0, first: int = 0) -> None:
    """The first three outputs become the inputs from ``first`` on, as the taps weigh their pixels, plus an offset."""
    for c in range(3):
        layer.weight[c], layer.bias[c] = 0.0, offset
        for (row, column), share in taps.items():
            layer.weight[c, first + c, row, column] = share


def _carry_background(net: nn.Module) -> None:
    a = net.input_conv[0].out_channels
    _only(net.input_conv[0], {(1, 1): 0.25, (1, 2): 0.25, (2, 1): 0.25, (2, 2): 0.25}, offset=2.0)  # above the kink
    _only(net.up_conv_4[0], {(1, 1): 1.0}, first=a)  # the shortcut
    _only(net.up_conv_4[2].conv, {(1, 1): 1.0})
    _only(net.out_conv, {(1, 1): STEEP}, offset=-2 * STEEP)


def _mist(decoder: nn.Module) -> None:
    """Density and colour that do not depend on the place: grey, and ``SEEN`` of what is behind."""
    depths = coarse_depths(HEAD_POSITION[2], torch.full((SAMPLES,), 0.5))
    thickness = -math.log(SEEN) / float(depths[-1] - depths[0])
    for layer in (decoder.out_sigma, decoder.out_rgb):
        layer.weight.zero_()
        layer.bias.zero_()
    decoder.out_sigma.bias.fill_(1 + math.log(math.expm1(thickness)))  # softplus(sigma - 1) is the thickness


def _give_back_contrast(net: nn.Module) -> None:
    """Behind the mist colours are ``SEEN`` of what they were, around 0; the first block adds the rest."""
    block, root = net.block0, math.sqrt(2)
    for layer in (block.conv0, block.conv1):
        layer.affine.weight.zero_()
        layer.affine.bias.fill_(1.0)
        for c in range(3):
            layer.weight[c] = 0.0
            layer.weight[c, c, 1, 1] = 1.0
            layer.bias[c] = 0.0
    block.conv0.bias[:3] = 1.0  # above the kink: (x + 1) times the root of 2, and once more in the second layer
    missing, width = 1 / SEEN - 1, block.torgb.weight.shape[1]
    for out in (block.torgb, net.block1.torgb):
        out.affine.weight.zero_()
        out.affine.bias.fill_(1.0)
        out.weight.zero_()
        out.bias.zero_()
    for c in range(3):
        block.torgb.weight[c, c] = missing * math.sqrt(width) / (root * root)
    block.torgb.bias.fill_(-missing)


class Persistent:
    """Pickles itself as the official decorator makes its classes do."""

    def __init__(self, name: str, state: dict) -> None:
        self.name, self.state = name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": self.name}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, ({**meta, "state": self.state},)


def as_official_pickle(net: nn.Module, monkeypatch) -> bytes:
    """The file as it is published: every module an object with source code, under the official names."""
    for name, content in (
        ("torch_utils", {}), ("torch_utils.persistence", {"_reconstruct_persistent_obj": lambda meta: None}),
        ("dnnlib", {}), ("dnnlib.util", {"EasyDict": type("EasyDict", (dict,), {})}),
    ):  # fmt: skip
        module = types.ModuleType(name)
        for key, value in content.items():
            value.__module__, value.__qualname__ = name, key
            setattr(module, key, value)
        monkeypatch.setitem(sys.modules, name, module)
    state = _state(net)
    state["_init_kwargs"] = sys.modules["dnnlib.util"].EasyDict(SETTINGS)
    state["neural_rendering_resolution"] = 128
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.dumps({"G_ema": Persistent("TriPlaneReenactGeneratorV2", state), "D": None}, protocol=4)


def _state(net: nn.Module) -> dict:
    """What a module's ``__dict__`` holds that a reader looks at, its children as objects of their own."""
    children = {name: Persistent(type(child).__name__, _state(child)) for name, child in net._modules.items() if child}
    return {
        "training": False, "_parameters": collections.OrderedDict(net._parameters),
        "_buffers": collections.OrderedDict(net._buffers), "_modules": collections.OrderedDict(children),
    }  # fmt: skip
