"""The exported C computes what the network computes, and needs nothing to do so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from export_support import build, logits, needs_cc, packed, run

NETWORKS: dict[str, dict[str, object]] = {
    "convnet": {},
    "convnet with affine norms": {"norm": "batch", "last_norm": False, "scale": 0.25},
    "convnet without norms": {"norm": "none", "stem": "half", "mean": [0.5, 0.1], "std": [0.25, 2.0]},
    "convnet of one pixel": {"size": 1},
    "convnet of explicit signs": {"seed": None},
    "cnn": {},
    "cnn of odd size": {"size": 13, "width": 0.5, "input_norm": False, "compress": "none"},
    "resnet20": {"width": 0.25, "in_channels": 3},
    "resnet18": {"width": 0.0625, "stem": "cifar"},
    "resnet34": {"width": 0.0625},
    "resnet50": {"width": 0.0625, "stem": "cifar"},
    "vgg11": {"size": 32, "width": 0.0625},
    "alexnet": {"size": 63, "width": 0.1, "norm": "batch_no_affine"},
    "mobilenetv2": {"width": 0.125, "stem": "cifar", "prune_rate": 0.5},
}


@needs_cc
@pytest.mark.parametrize("flash", ["fast", "compact"])
@pytest.mark.parametrize("what", NETWORKS)
def test_the_program_computes_what_the_module_computes(what: str, flash: str, tmp_path: Path) -> None:
    network = packed(what.split()[0], **NETWORKS[what])  # type: ignore[arg-type]
    program = build(network, tmp_path, flash=flash)
    run(program)
    config = network.config
    images = torch.rand(6, config.in_channels, config.size, config.size)
    images[0] = 0
    images[1] = 1
    images[2] *= 1000
    images[3] -= 0.5
    with torch.no_grad():
        expected = network.to_module().double()(images.double())
    gap = (logits(program, images) - expected).abs().amax(1)
    assert (gap <= 1e-4 * expected.abs().amax(1).clamp(min=1)).all(), gap
