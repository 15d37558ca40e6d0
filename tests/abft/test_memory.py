"""What protection adds to a model's memory, each part by itself."""

from __future__ import annotations

import torch
from torch import nn

from holdfast import protect
from holdfast.kernels import native


def test_each_part_is_counted_once_and_apart() -> None:
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    cw1 = 4 * 9 * 8
    protected = protect(model, plan=None)
    before = protected.memory()
    assert (before.weights, before.pristine, before.packed) == (weights, weights, 0)
    assert 2 * cw1 <= before.checksums <= 4 * cw1  # Cw1, Cw2, and Cw1 in other layouts
    assert protect(model, plan=None, pristine=None).memory().pristine == 0
    with torch.inference_mode():
        for _ in range(2):
            protected(torch.rand(2, 4, 8, 8))
    after = protected.memory()
    if native.load() is None:
        assert after == before
    else:
        assert after.checksums == before.checksums + 2 * cw1  # of the weights with the norm folded in
        assert after.packed >= model[0].weight.nbytes


def test_large_layers_need_little() -> None:
    used = protect(nn.Linear(512, 512), plan=None).memory()
    assert used.checksums < 0.03 * used.weights
