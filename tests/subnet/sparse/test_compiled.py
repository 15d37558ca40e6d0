"""Whole networks: the same answers as the module, for any batch, and clear errors."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sparse_support import program, subnetwork
from torch import Tensor, nn

from holdfast import models
from holdfast.core.errors import DataError, UsageError
from holdfast.kernels import native
from holdfast.subnet.assembly import to_network
from holdfast.subnet.packed import Packed, PackedLayer
from holdfast.subnet.sparse import plan as plans
from holdfast.subnet.sparse.graph import network

MODELS = {
    "convnet": ("convnet", {"size": 9, "in_channels": 1}),
    "cnn": ("cnn", {"size": 17, "in_channels": 2}),
    "resnet20": ("resnet20", {"size": 12}),
    "resnet18": ("resnet18", {"size": 9, "width": 0.1, "stem": "cifar"}),
    "resnet34": ("resnet34", {"size": 32, "width": 0.1}),
    "resnet50": ("resnet50", {"size": 11, "width": 0.05, "stem": "cifar"}),
    "vgg11": ("vgg11", {"size": 33, "width": 0.05, "norm": "batch"}),
    "mobilenetv2": ("mobilenetv2", {"size": 13, "width": 0.1, "stem": "cifar"}),
    "yolov2": ("yolov2", {"size": 64, "width": 0.05, "norm": "batch", "last_norm": False}),
}


@pytest.fixture(scope="module")
def packed() -> Packed:
    return subnetwork("convnet", size=8, in_channels=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few measurements: what a plan chooses is no matter here."""
    monkeypatch.setattr(plans, "TILES", (1, 4))
    monkeypatch.setattr(plans, "REPEATS", 1)


def _same(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= 3e-4 * max(1.0, float(wanted.abs().max()))


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    network_, options = MODELS[name]
    packed = subnetwork(network_, **options)
    module = packed.to_module()
    shape = (packed.config.in_channels, packed.config.size, packed.config.size)
    net = network(module, shape)
    for images in (1, 3, 16):
        x = torch.rand(images, *shape, generator=torch.Generator().manual_seed(images))
        with torch.inference_mode():
            wanted = module(x)
        for isa in native.variants()[:1]:
            for method in ("planes", "lanes", "dense"):
                run = program(net, images, isa, method)
                found = run(x)
                _same(found, wanted)
                run(torch.full_like(x, math.nan))
                assert torch.equal(run(x), found)
        _same(program(net, images, "", "dense")(x), wanted)


@pytest.fixture
def made_dense(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers whose dense weights have been made."""
    made: list[str] = []
    dense = PackedLayer.weight

    def weight(layer: PackedLayer) -> NDArray[np.float32]:
        made.append(layer.name)
        return dense(layer)

    monkeypatch.setattr(PackedLayer, "weight", weight)
    return made


@pytest.mark.parametrize("name", MODELS)
def test_it_is_made_of_what_is_kept_without_dense_weights(name: str, made_dense: list[str]) -> None:
    network_, options = MODELS[name]
    packed = subnetwork(network_, **options)
    shape = (packed.config.in_channels, packed.config.size, packed.config.size)
    wanted = network(packed.to_module(), shape)
    made_dense.clear()
    found = to_network(packed, shape)
    assert set(made_dense) == {layer.name for layer in packed.layers} - {
        x.name for x in wanted.layers.values()
    }
    assert list(map(str, found.nodes)) == list(map(str, wanted.nodes))
    for one, other in zip(found.layers.values(), wanted.layers.values(), strict=True):
        assert one.weights is not None
        assert other.weights is not None
        for field in ("start", "channel", "entry"):
            assert np.array_equal(getattr(one.weights, field), getattr(other.weights, field))
        assert (one.weights.shape, one.weights.scale) == (other.weights.shape, other.weights.scale)
        assert torch.equal(one.scale, other.scale)
        assert torch.equal(one.shift, other.shift)
        assert (one.name, one.shape, one.groups) == (other.name, other.shape, other.groups)


def test_a_model_with_numbers_that_no_file_has_is_made_whole(
    packed: Packed, made_dense: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    create = models.create

    def with_more(**arguments: Any) -> nn.Module:
        model = create(**arguments)
        model.register_buffer("more", torch.empty((3, 3)), persistent=False)
        return model

    to_network(packed, (1, 8, 8))
    assert not made_dense
    monkeypatch.setattr(models, "create", with_more)
    to_network(packed, (1, 8, 8))
    assert made_dense == [layer.name for layer in packed.layers]


@pytest.mark.parametrize("images", [0, 1, 2, 7, 16, 17, 35])
def test_any_batch(packed: Packed, images: int) -> None:
    x = torch.rand(images, 1, 8, 8)
    with torch.no_grad():
        wanted = packed.to_module()(x)
    found = packed.compile()(x)
    assert found.shape == wanted.shape
    if images:
        _same(found, wanted)
    assert not found.requires_grad


def test_views_modes_and_results_that_stay(packed: Packed) -> None:
    run, x = packed.compile(), torch.rand(8, 8, 3, 4).permute(2, 3, 0, 1)[:, :1]
    with torch.inference_mode():
        inside = run(x)
    found = run(x)
    kept = found.clone()
    run(torch.rand(3, 1, 8, 8))
    assert torch.equal(inside, found)
    assert torch.equal(found, kept)
    assert run.eval() is run
    with pytest.raises(UsageError, match="eval mode"):
        run.train()


def test_threads_at_once_and_threads_within(packed: Packed) -> None:
    run, one = packed.compile(threads=2), packed.compile()
    batches = [torch.rand(n, 1, 8, 8) for n in (16, 5, 16, 9, 16, 1)]
    wanted = [one(x) for x in batches]
    before = torch.get_num_threads()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, want in zip(pool.map(run, batches), wanted, strict=True):
                _same(found, want)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(1, 8, 8),
        torch.rand(2, 3, 8, 8),
        torch.rand(2, 1, 9, 8),
        torch.rand(2, 1, 8, 8, dtype=torch.float64),
        [1.0],
    ],
    ids=["three dimensions", "channels", "size", "dtype", "no tensor"],
)
def test_a_wrong_input_is_an_error_that_says_what_is_expected(packed: Packed, x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"expected float32 \(N, 1, 8, 8\) on the CPU"):
        packed.compile()(x)


def test_a_model_of_two_outputs_is_an_error() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    with pytest.raises(UsageError, match="one tensor"):
        network(Two(), (1, 8, 8))


def test_no_thread_is_an_error(packed: Packed) -> None:
    with pytest.raises(UsageError, match="threads"):
        packed.compile(threads=0)


def test_a_plan_is_kept_and_used_again(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, x = tmp_path / "plan.json", torch.rand(3, 1, 8, 8)
    first = packed.compile(plan=path)
    found = first(x)
    assert [plan.key["images"] for plan in first.plans] == [2, 1]
    again = packed.compile(plan=path)
    monkeypatch.setattr(plans, "make", None)
    assert torch.equal(again(x), found)
    assert again.plans == first.plans
    chosen = {layer.layer: layer for layer in first.plans[0].layers}
    assert list(chosen) == [layer.name for layer in packed.layers]
    for layer in chosen.values():
        assert layer.method in ("planes", "lanes", "dense")
        assert layer.dense_ms is None or layer.dense_ms > 0


def test_a_plan_of_another_network_is_not_used(packed: Packed, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    packed.compile(plan=path)(torch.rand(1, 1, 8, 8))
    other = subnetwork("convnet", size=8, in_channels=1, prune_rate=0.5)
    run = other.compile(plan=path)
    run(torch.rand(1, 1, 8, 8))
    assert len(run.plans) == 2


@pytest.mark.parametrize("spoil", ["{", "schema", "method", "tile"])
def test_a_damaged_plan_is_an_error(packed: Packed, tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "plan.json"
    packed.compile(plan=path)(torch.rand(1, 1, 8, 8))
    document = json.loads(path.read_text())
    if spoil == "schema":
        document["schema"] = "another"
    elif spoil == "method":
        document["plans"][0]["layers"][0]["method"] = "magic"
    elif spoil == "tile":
        document["plans"][0]["layers"][0]["tile"] = 99
    path.write_text("{" if spoil == "{" else json.dumps(document))
    with pytest.raises(DataError, match="made anew"):
        packed.compile(plan=path)


def test_without_the_core_torch_computes(packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    monkeypatch.setattr("holdfast.kernels.backend", lambda: "reference")
    run, x = packed.compile(), torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        _same(run(x), packed.to_module()(x))
    assert {layer.method for plan in run.plans for layer in plan.layers} == {"dense"}
