"""Layers that compete for the weights to keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import data
from holdfast.core.errors import UsageError
from holdfast.subnet import Subnetwork, load_packed, prune
from holdfast.subnet.global_rate import global_counts


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=12), min_size=1, max_size=5), st.data())
def test_every_layer_has_one_and_the_rest_are_the_largest(
    layers: list[list[int]], drawn: st.DataObject
) -> None:
    scores = [torch.tensor(layer, dtype=torch.float32) for layer in layers]
    total = drawn.draw(st.integers(len(layers), sum(map(len, layers))))
    counts = global_counts(scores, total)
    assert sum(counts) == total
    assert all(1 <= kept <= len(layer) for kept, layer in zip(counts, layers, strict=True))
    kept = [x for layer, k in zip(layers, counts, strict=True) for x in sorted(layer)[::-1][1:k]]
    left = [x for layer, k in zip(layers, counts, strict=True) for x in sorted(layer)[::-1][k:]]
    assert not kept or not left or min(kept) >= max(left)


def test_by_magnitude() -> None:
    scores = [torch.tensor([-5.0, 1.0, 1.0]), torch.tensor([2.0, 0.1, -3.0])]
    assert global_counts(scores, 3) == [2, 1]
    assert global_counts(scores, 3, "magnitude") == [1, 2]
    with pytest.raises(UsageError, match="2 to 6"):
        global_counts(scores, 1)


def test_a_search_over_all_layers(tmp_path: Path) -> None:
    digits: tuple[Any, Any] = data.open("digits", split="train", limit=320), data.open("digits", split="val")
    options: dict[str, Any] = {"prune_rate": 0.9, "p": "global", "attack": "cross_entropy", "epochs": 2}
    found = prune("convnet", digits, out=tmp_path, batch_size=64, **options)
    scores = torch.cat([layer.scores.detach().flatten() for layer in found.layers.values()])
    mask = torch.cat([mask.flatten() for mask in found.masks.values()])
    assert int(mask.sum()) == round(0.1 * len(mask))
    assert float(scores[mask].min()) >= float(scores[~mask].max())
    counts = [layer.kept for layer in found.layers.values()]
    assert counts == [int(mask.sum()) for mask in found.masks.values()]
    fresh = Subnetwork(found.config, found.recipe)
    assert counts != [layer.kept for layer in fresh.layers.values()] != list(found.recipe.counts)
    x = torch.rand(2, 1, 8, 8)
    found.save(tmp_path / "a.safetensors")
    again = Subnetwork.load(tmp_path / "a.safetensors")
    assert torch.equal(again.model(x), found.model(x))
    assert [layer.kept for layer in again.layers.values()] == counts
    found.pack().save(tmp_path / "a.packed")
    assert load_packed(tmp_path / "a.packed").kept == sum(counts)
    with pytest.raises(UsageError, match="global for single weights"):
        prune("convnet", digits, out=tmp_path, **{**options, "p": "locally"})
