"""Dead channels go, the logits stay."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from subnet_support import masked_model, packed
from torch import nn

from holdfast import data
from holdfast.core.errors import DataError, UsageError
from holdfast.subnet import load_packed, prune
from holdfast.subnet.channels import without_dead_channels
from holdfast.subnet.packed import Packed

MODELS: dict[str, dict[str, Any]] = {
    "convnet": {"width": 0.5},
    "cnn": {},
    "resnet18": {"stem": "cifar", "width": 0.125},
    "resnet50": {"stem": "cifar", "width": 0.0625},
    "resnet20": {},
    "mobilenetv2": {"stem": "cifar", "width": 0.1},
}
INNER = {
    "convnet": ("blocks.1.conv", "blocks.1.norm"),
    "cnn": ("blocks.1.conv", "blocks.1.norm"),
    "resnet18": ("layer2.0.conv1", "layer2.0.bn1"),
    "resnet50": ("layer2.0.conv2", "layer2.0.bn2"),
    "resnet20": ("layer2.0.conv1", "layer2.0.bn1"),
    "mobilenetv2": ("features.3.conv.1.0", "features.3.conv.1.1"),
}
"""A layer of each model whose channels nothing else is tied to, and its norm."""


def sparse(name: str, **options: Any) -> Packed:
    return packed(masked_model(name, prune_rate=0.97, **{**MODELS[name], **options}))


def without(network: Packed, layer: str, rows: slice) -> Packed:
    """``network`` with no weights in ``rows`` of ``layer``."""
    layers = []
    for each in network.layers:
        mask = each.mask.copy()
        if each.name == layer:
            mask[rows] = False
        layers.append(dataclasses.replace(each, mask=mask, signs=(each.weight() > 0)[mask]))
    return dataclasses.replace(network, layers=tuple(layers))


@pytest.mark.parametrize(("name", "seed"), [*((name, 0) for name in MODELS), ("convnet", None)])
def test_the_logits_stay_and_files_come_back(name: str, seed: int | None, tmp_path: Path) -> None:
    layer, norm = INNER[name]
    network = dataclasses.replace(without(sparse(name), layer, slice(1, 5)), seed=seed)
    network.stats[f"{norm}.running_mean"][1:5] = 0  # type: ignore[index]
    small = without_dead_channels(network)
    x = torch.rand(4, 2, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(small.to_module()(x), network.to_module()(x), rtol=1e-4, atol=1e-4)
    assert small.kept < network.kept
    rows = {each.name: len(each.mask) for each in network.layers}
    assert {each.name: len(each.mask) for each in small.layers}[layer] <= rows[layer] - 4
    small.save(tmp_path / "a.packed")
    again = load_packed(tmp_path / "a.packed")
    assert again.nbytes == small.nbytes
    assert torch.equal(again.to_module()(x), small.to_module()(x))
    twice = without_dead_channels(again)
    assert [layer.mask.shape for layer in twice.layers] == [layer.mask.shape for layer in small.layers]
    assert torch.equal(twice.to_module()(x), small.to_module()(x))


def test_channels_without_weights_go_and_so_do_those_who_fed_them() -> None:
    network = packed(masked_model("convnet", prune_rate=0.3, width=0.5))
    whole = without_dead_channels(network)
    assert [layer.mask.shape for layer in whole.layers] == [layer.mask.shape for layer in network.layers]
    for name in ("running_mean", "running_var"):
        network.stats[f"blocks.1.norm.{name}"][:3] = 0  # type: ignore[index]
    cut = without(network, "blocks.1.conv", slice(0, 3))
    small = {layer.name: layer for layer in without_dead_channels(cut).layers}
    assert small["blocks.1.conv"].mask.shape == (13, 8, 3, 3)
    assert small["blocks.2.conv"].mask.shape == (32, 13, 3, 3)
    # Of the last channels, none is read: what only they read goes as well.
    cut = without(cut, "blocks.2.conv", slice(1, None))
    network.stats["blocks.2.norm.running_mean"][1:] = 0.1  # type: ignore[index]
    read = int(cut.layers[2].mask[0].any((1, 2))[3:].sum())
    small = {layer.name: layer for layer in without_dead_channels(cut).layers}
    assert small["blocks.2.conv"].mask.shape == (1, read, 3, 3)


def test_a_constant_that_is_not_zero_stays() -> None:
    network = packed(masked_model("convnet", prune_rate=0.3, width=0.5))
    network.stats["blocks.1.norm.running_mean"][:3] = torch.tensor([-1.0, 1.0, -1.0])  # type: ignore[index]
    cut = without(network, "blocks.1.conv", slice(0, 3))
    small = without_dead_channels(cut)
    assert small.layers[1].mask.shape == (15, 8, 3, 3)  # ReLU made the second one 0
    x = torch.rand(2, 2, 12, 12)
    torch.testing.assert_close(small.to_module()(x), cut.to_module()(x), rtol=1e-4, atol=1e-4)


def test_a_network_that_is_all_dead_keeps_one_channel_a_layer() -> None:
    network = packed(masked_model("convnet", prune_rate=0.3, width=0.5))
    for name, value in network.stats.items():
        if name.endswith("running_mean") and name.startswith("blocks"):
            value[:] = 0
    small = without_dead_channels(without(network, "blocks.0.conv", slice(None)))
    assert [layer.mask.shape[0] for layer in small.layers] == [1, 1, 1, 1, 3]
    assert small.kept == 0
    x = torch.rand(2, 2, 12, 12)
    cut = without(network, "blocks.0.conv", slice(None)).to_module()
    torch.testing.assert_close(small.to_module()(x), cut(x), rtol=1e-4, atol=1e-4)
    assert small.nbytes < network.nbytes


def test_a_search_for_whole_channels(tmp_path: Path) -> None:
    digits: tuple[Any, Any] = data.open("digits", split="train", limit=640), data.open("digits", split="val")
    options: dict[str, Any] = {"prune_rate": 0.5, "p": 1, "by": "channel", "attack": "cross_entropy"}
    found = prune("convnet", digits, out=tmp_path, batch_size=64, epochs=4, lr=1.0, **options)
    x, y = next(digits[1].batches(1000))
    with torch.no_grad():
        assert (found.model(x).argmax(1) == y).float().mean() > 0.2
    for name, mask in found.masks.items():
        columns = mask.transpose(0, 1).flatten(1).float().mean(1)
        assert set(columns.tolist()) <= {0.0, 1.0}
        assert float(columns.mean()) == (1 if name == "blocks.0.conv" else 0.5)
    network = found.pack()
    small = without_dead_channels(network)
    assert [layer.mask.shape[:2] for layer in small.layers] == [(8, 1), (16, 8), (32, 16), (64, 32), (10, 64)]
    assert all(layer.mask.all() for layer in small.layers)
    torch.testing.assert_close(small.to_module()(x), network.to_module()(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="for single weights"):
        prune("convnet", digits, out=tmp_path, **{**options, "p": "global"})


def test_the_narrow_module_says_what_it_is() -> None:
    model = without_dead_channels(sparse("mobilenetv2")).to_module()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups)
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_mean.shape == (module.num_features,)


def test_damage_to_what_is_left_is_seen(tmp_path: Path) -> None:
    network = packed(masked_model("convnet", prune_rate=0.3, width=0.5))
    for name in ("running_mean", "running_var"):
        network.stats[f"blocks.1.norm.{name}"][:3] = 0  # type: ignore[index]
    path = tmp_path / "a.packed"
    without_dead_channels(without(network, "blocks.1.conv", slice(0, 3))).save(path)
    raw = path.read_bytes()
    start, end = raw_place(raw, "channels")
    for place in range(start, end):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            load_packed(path)


def raw_place(raw: bytes, tensor: str) -> tuple[int, int]:
    """Where the bytes of ``tensor`` are in a file."""
    length = int.from_bytes(raw[:8], "little")
    start, end = json.loads(raw[8 : 8 + length])[tensor]["data_offsets"]
    return 8 + length + start, 8 + length + end


def test_it_runs_on_the_engine() -> None:
    network = sparse("resnet18")
    x = torch.rand(3, 2, 12, 12)
    small = without_dead_channels(network)
    torch.testing.assert_close(small.compile()(x), network.to_module()(x), rtol=1e-3, atol=1e-3)
    assert np.all([layer.kept <= layer.mask.size for layer in small.layers])
