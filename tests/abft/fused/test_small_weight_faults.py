"""Damaged weights whose effect is close to the threshold: FC may take it for a damaged checksum at first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast import protect


@pytest.mark.usefixtures("free_rungs")
@pytest.mark.parametrize("fuse", [True, False])
def test_a_small_change_of_a_weight_is_mended(fuse: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)).eval()
    x = torch.randn(8, 16, 16, 16)
    protected = protect(model, plan=None, fuse=fuse)
    trails = set()
    with torch.inference_mode():
        clean = protected(x)
        threshold = protected.sensitivity(x)[1].threshold
        store = protected.computing_weights("2")
        assert (store is not None) is fuse
        for step in range(60):
            change = threshold * (1 + step / 20) / 10
            kept = model[2].weight.clone()
            model[2].weight.view(-1)[37 * step] += change
            if store is not None:
                dense = store.read()
                dense.view(-1)[37 * step] += change
                store.write(dense)
            out = protected(x)
            assert torch.allclose(out, clean, atol=4 * threshold)
            trails |= {event.rungs for event in protected.events}
            model[2].weight.copy_(kept)
            if store is not None:
                store.restore()
            protected.clear_events()
            assert torch.equal(protected(x), clean)
            assert not protected.events
    assert any("FC" in trail for trail in trails)
    assert any("weights reloaded" in trail for trail in trails)
